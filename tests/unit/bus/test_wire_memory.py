"""Messages of the bus leave nothing of what they said in the memory of who read them."""

import gc
import sys

from tubepost.common.wire.delivery import RecipientStatus


def read(first: int, count: int) -> None:
    for number in range(first, first + count):
        data = b'{"offset":1,"status":"sent","dsn":"2.0.0","text":"queued as %d"}' % (1_000_000 + number)
        assert RecipientStatus.model_validate_json(data).text.endswith(str(number))


def test_values_are_not_kept() -> None:
    read(0, 1000)
    gc.collect()
    before = sys.getallocatedblocks()
    read(1000, 4000)
    gc.collect()
    assert sys.getallocatedblocks() - before < 400
