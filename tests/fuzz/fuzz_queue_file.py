"""Fuzzes what reads files of the spool: queue files, bounce logs, lists of the flush program.

The invariant: whatever a disk gives back, nothing but Damaged and Incomplete is raised; a file that is taken for whole
has its content where it says, and recipients one behind the other up to its end; what is read was bounded.

    python -m tests.fuzz queue_file -max_total_time=20
"""

import os

from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.spool import queuefile
from tubepost.common.spool.queuefile import PREAMBLE, Damaged, Incomplete

from tests.fuzz.driver import Harness
from tubepost.services.bounce import logfile
from tubepost.services.flush.lists import Lists, list_name

WORDS = [
    b"TUBEPOST-QUEUE 1 ", b"000000000000128 ", b"000000000000004 ", b"000000000000132 ", b"000000000000300 ",
    b"00000001 ", b"--", b"WE", b"\n", b" ", b'{"sender":"a@b","arrival_time":1.0}\n', b'R{"address":"c@d"}\n',
    b'D{"address":"e@f","notify":["NEVER"]}\n', b'"', b"{", b"}", b"[", b"]", b",", b":", b"1e999", b"\\ud800",
    b'"origin":{"uid":7}', b"\0", b"\xff", b"x" * 300, b'"encoding":"binary"', b"null", b'{"address":',
    b'{"recipient":{"address":"a@b"},"dsn":"5.1.1","action":"failed","text":"x"}\n',
]  # fmt: skip
_ENVELOPE = Envelope(sender="a@b.example", arrival_time=1.5)
_PEOPLE = [Recipient(address="c@d.example"), Recipient(address="e@f", notify=("FAILURE", "DELAY"))]


def _open(data: bytes) -> int:
    fd = os.memfd_create("spool")
    os.write(fd, data)
    return fd


def read(data: bytes) -> None:
    fd = _open(data)
    try:
        try:
            file = queuefile.read_queue_file(fd)
        except (Damaged, Incomplete):
            return
        assert file.size == len(data)
        assert file.content_offset + file.content_length == file.envelope_offset < file.first_recipient <= file.size
        assert isinstance(file.warned, bool) and isinstance(file.expired, bool)
        try:
            assert b"".join(file.content(7 if len(data) < 2000 else 4096)) == data[PREAMBLE : file.envelope_offset]
            last = file.first_recipient
            for offset, _, recipient, following in file.recipients():
                assert offset == last < following <= file.size and isinstance(recipient, Recipient)
                last = following
            assert last == file.size
        except Damaged:
            return
        queuefile.mark_done(fd, file.first_recipient)
        queuefile.set_flag(fd, queuefile.WARNED)
    finally:
        os.close(fd)


def check(settings: int, data: bytes) -> None:
    match settings & 3:
        case 0:
            read(data)
        case 1:
            # The numbers fit, so that what is behind them is looked at.
            content, _, rest = data.partition(b"\n")
            start = PREAMBLE + len(content)
            read(queuefile._preamble(len(content), start, start + len(rest), settings >> 2) + content + rest)
        case 2:
            # One that we wrote, with some damage.
            buffers, _, _ = queuefile.encode(_ENVELOPE, _PEOPLE, [b"Subject: x\n\n", data[2:]])
            whole = bytearray(b"".join(buffers))
            read(bytes(whole))
            for place in data[:2]:
                whole[-place % len(whole)] ^= 1 << (settings >> 2) % 8
            read(bytes(whole))
        case 3:
            fd = _open(data)
            try:
                path = f"/proc/self/fd/{fd}"
                for entry in logfile.read(path):
                    assert entry.recipient.address is not None
            finally:
                os.close(fd)
            try:
                name = list_name(data[:300].decode("utf-8", "replace"))
            except ValueError:
                return
            assert name and "/" not in name and not name.startswith(".") and len(name) < 256
            assert Lists("flush").path(name) == f"flush/{name}"


SEED = b"".join(queuefile.encode(_ENVELOPE, _PEOPLE, [b"Subject: x\n\nbody\n"])[0])
HARNESS = Harness(check, WORDS, [b"\0" + SEED, *(bytes((kind,)) + SEED[PREAMBLE:] for kind in (1, 2, 3))])
