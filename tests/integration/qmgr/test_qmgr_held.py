"""What a person does to a message while it is being delivered: nobody gets it twice."""

import os
import pwd
from pathlib import Path

from tests.fakes.instance import Instance

USER = "daemon" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
MAIN = {
    "relay_domains": "list.test",
    "transport_maps": "inline:{ {list.test=cmd:} }",
    "cmd_destination_recipient_limit": "1",
    "notify_classes": "",
}


def test_mail_on_hold_is_delivered_once(open_path: Path) -> None:
    gate = open_path / "gate"
    os.mkfifo(gate)
    os.chmod(gate, 0o666)
    master = ["cmd unix - n n - 1 pipe", f"    user={USER} argv=/bin/sh -c {{read line <{gate}}} sh $recipient"]
    with Instance(main=MAIN, master=master) as instance:
        os.chmod(instance.root, 0o777)
        for people in (["one@list.test"], ["one@list.test", "two@list.test"]):
            start = len(instance.log.lines)
            instance.send(people)
            # It can be opened when a delivery is under way.
            with open(gate, "w", encoding="ascii") as opened:
                opened.write("\n")
                (queue_id,) = instance.queued("active")
                assert instance.command("postsuper", "-h", queue_id).returncode == 0
            instance.log.wait(rf"{queue_id}: (is no longer in|was already gone from) the active queue", start=start)
            assert instance.queued("hold") == [queue_id]
            assert instance.command("postsuper", "-H", queue_id).returncode == 0
            for _ in people[1:]:
                with open(gate, "w", encoding="ascii") as opened:
                    opened.write("\n")
            instance.log.wait(rf"{queue_id}: removed", start=start)
            sent = [line for line in instance.log.lines[start:] if queue_id in line and "status=sent" in line]
            assert len(sent) == len(people)
