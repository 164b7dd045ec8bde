"""An orderly stop in the middle of work: what was begun is finished, and nothing is delivered twice."""

import os
import pwd
import tempfile
from collections import Counter
from pathlib import Path

from tests.fakes.instance import Instance

USER = "daemon" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def test_nothing_is_delivered_twice_over_orderly_restarts() -> None:
    with tempfile.TemporaryDirectory(prefix="tp-out-", dir="/tmp") as folder:
        os.chmod(folder, 0o777)
        out = Path(folder, "out")
        out.touch()
        out.chmod(0o666)
        lines = [
            "cmd unix - n n - 8 pipe",
            f"    user={USER} argv=/bin/sh -c {{sleep 0.03; echo $$1 >> {out}}} sh $recipient",
        ]
        main = {
            "relay_domains": "list.test",
            "transport_maps": "inline:{ {list.test=cmd:} }",
            "cmd_destination_recipient_limit": "1",
            "notify_classes": "",
        }
        instance = Instance(main=main, master=lines)
        os.chmod(instance.root, 0o777)
        try:
            instance.start()
            for number in range(10):
                instance.send([f"r{number}.{place}@list.test" for place in range(30)], sender="")
            for _ in range(3):
                instance.log.wait("status=sent", 20)
                assert instance.stop() == 0
                assert instance.log.count("was killed|mail transport unavailable") == 0
                instance.start()
            while len(out.read_text().split()) < 300:
                instance.log.wait("status=sent", start=len(instance.log.lines))
            instance.stop()
            counts = Counter(out.read_text().split())
            assert len(counts) == 300
            assert set(counts.values()) == {1}
        finally:
            instance.stop()
            instance.remove()
