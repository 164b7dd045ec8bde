"""Input: the same lines however the octets come, and no more kept than a line may have."""

from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mail.lines import Input

_LIMIT = 8


def _lines(pieces: list[bytes]) -> list[bytes]:
    machine = Input(_LIMIT)
    found = []
    for piece in pieces:
        machine.receive(piece)
        while (line := machine.next_line()) is not None:
            found.append(line)
        assert machine.waiting_input <= _LIMIT
    return found


@given(st.binary(max_size=60).map(lambda data: data.replace(b"x", b"\r\n")))
def test_octet_by_octet_is_as_all_at_once(data: bytes) -> None:
    assert _lines([data[i : i + 1] for i in range(len(data))]) == _lines([data])


def test_both_line_ends() -> None:
    assert _lines([b"one\r\ntwo\nthree\r\r\n\n"]) == [b"one", b"two", b"three\r", b""]


def test_a_line_that_is_too_long_is_one_wrong_line() -> None:
    assert _lines([b"12345678\n123456789\nok\n"]) == [b"12345678", b"\0", b"ok"]
    assert _lines([b"1" * 20, b"2" * 20, b"3\nok\n"]) == [b"\0", b"ok"]


def test_forgetting() -> None:
    machine = Input(_LIMIT)
    machine.receive(b"1" * 20)
    assert machine.next_line() is None
    machine.forget_input()
    machine.receive(b"ok\nrest")
    assert machine.next_line() == b"ok"
    assert machine.waiting_input == 4 and machine.take_rest() == b"rest" and machine.waiting_input == 0
