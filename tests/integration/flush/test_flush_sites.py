"""ETRN: what waits for a destination is tried at once, and only that."""

import time
from pathlib import Path

from tests.fakes.instance import PATIENCE, Instance

# By aliases: smtpd refuses what it sees to wait.
MAIN = {
    "relay_domains": "two.test, three.test",
    "virtual_alias_maps": "inline:{ {b@example.test=b@two.test} {c@example.test=c@three.test} }",
    "transport_maps": "inline:{ {two.test=retry:come back} {three.test=retry:come back} }",
    "smtpd_etrn_restrictions": "permit_mynetworks, reject",
}


def wait_list(path: Path) -> list[str]:
    """The ids in a list, once there are any. What qmgr tells flush comes after its log line."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()):
            return text.split()
        time.sleep(0.02)
    raise AssertionError(f"nothing in {path.name}")


def test_etrn_has_the_mail_for_one_destination_tried() -> None:
    with Instance(main=MAIN) as instance:
        instance.send("b@example.test")
        instance.send("c@example.test")
        [two] = instance.log.wait(r": (\w+): to=<b@two.test>.*status=deferred")
        [three] = instance.log.wait(r": (\w+): to=<c@three.test>.*status=deferred")
        lists = instance.spool / "flush"
        assert wait_list(lists / "two_test") == [two[1]]
        assert wait_list(lists / "three_test") == [three[1]]
        with instance.smtp() as client:
            client.ehlo("client.test")
            assert client.docmd("ETRN two.test")[0] == 250
            assert client.docmd("ETRN other.test")[0] == 459
        instance.log.wait(r"to=<b@two.test>.*status=deferred", 2)
        assert instance.log.count(r"to=<c@three.test>.*status=deferred") == 1
        # It failed again, so it is listed again.
        assert wait_list(lists / "two_test") == [two[1]]
        assert wait_list(lists / "three_test") == [three[1]]
