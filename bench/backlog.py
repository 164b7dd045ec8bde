"""100,000 messages in deferred/: a new message is delivered at once, qmgr stays small, postqueue -p starts to print."""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.spool import Spool, encode

from bench.ground import file_system, memory_of
from bench.systems import Tubepost, wait_finished


def fill(spool: Spool, count: int, uid: int, gid: int) -> None:
    """Deferred messages that are due in an hour."""
    later = time.time() + 3600
    envelope = Envelope(sender="sender@example.org", arrival_time=time.time() - 600)
    recipient = Recipient(address="someone@example.net")
    buffers, _, _ = encode(envelope, [recipient], [b"Subject: deferred\n\nwaiting\n"])
    data = b"".join(buffers)
    for _ in range(count):
        queue_id, fd = spool.create("deferred")
        os.write(fd, data)
        os.close(fd)
        path = spool.path("deferred", queue_id)
        os.utime(path, (later, later))
        os.chown(path, uid, gid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    options = parser.parse_args()
    with file_system("4G") as ground:
        system = Tubepost(ground)
        system.start()
        system.instance.stop()
        owner = os.stat(system.root / "spool" / "deferred")
        begun = time.monotonic()
        fill(Spool(str(system.root / "spool")), options.messages, owner.st_uid, owner.st_gid)
        for path in (system.root / "spool" / "deferred").iterdir():
            os.chown(path, owner.st_uid, owner.st_gid)
        print(f"{options.messages} deferred messages made in {time.monotonic() - begun:.0f} s")
        subprocess.run(["sync"], check=True)
        Path("/proc/sys/vm/drop_caches").write_text("2\n")
        try:
            begun = time.monotonic()
            system.instance.start()
            system.instance.send("alice@example.test")
            wait_finished(system, 1, 60)
            print(f"start to first delivery of a new message: {time.monotonic() - begun:.2f} s (bound: 3)")
            begun = time.monotonic()
            listing = subprocess.Popen(
                [sys.executable, "-I", "-m", "tubepost.commands.postqueue", "-p"],
                env={**os.environ, "MAIL_CONFIG": str(system.instance.conf)},
                stdout=subprocess.PIPE,
                text=True,
            )
            assert listing.stdout is not None
            header, first = listing.stdout.readline(), listing.stdout.readline()
            print(
                f"postqueue -p: first message after {time.monotonic() - begun:.2f} s (bound: 1): {first.strip()[:60]}"
            )
            lines = sum(1 for line in listing.stdout if line[:1].isalnum())
            listing.wait()
            print(f"postqueue -p: {lines + 1} messages in {time.monotonic() - begun:.1f} s; header {header[:20]!r}")
            (qmgr,) = system.instance.pids("qmgr")
            print(f"qmgr: {memory_of(qmgr, 'Rss') / 1024:.0f} MiB resident (bound: 150)")
        finally:
            system.stop()


if __name__ == "__main__":
    main()
