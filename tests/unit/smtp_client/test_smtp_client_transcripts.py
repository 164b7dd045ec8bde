"""Plays tests/transcripts/client/*.smtp against the client's machine, replies fed whole and byte by byte.

``=: name value`` sets a Manner field (or ``watch_loops``, ``old_message``, ``best``, ``discard``) before the session.
``S: line`` the server says; consecutive ones arrive in one piece. ``C: line`` the client must have said next, nothing
else in between. ``QUIET`` asserts that nothing more was said. ``BEGIN: sender recipient…`` starts a transaction;
options before the sender: ``8bit``, ``binary``, ``utf8``, ``probe``, ``ret=HDRS``, ``envid=x``, ``size=n``; after a
recipient ``,notify=NEVER`` or ``,orcpt=rfc822;x``. ``CONTENT`` asserts that the content is wanted, and sends it;
``WANTED`` asserts it only. ``LOST``, ``TIMEOUT`` end the connection. ``R: n sent 2.0.0 text`` and ``R: n failed 5.1.1
text`` assert results (texts by their beginning), ``R: n none`` that there is none. ``FAILURE: dsn text``,
``PHASE: name``, ``STAGE: name``, ``CLOSE: yes``, ``STALE: yes``, ``NOTE: text`` assert states.
"""

from pathlib import Path

import pytest

from tubepost.common.wire.envelope import Envelope, Recipient

from tubepost.services.smtp.protocol import Conversation, Mail, Sent
from tubepost.services.smtp.server import Manner, Server
from tubepost.services.smtp.stages import Trouble

FOLDER = Path(__file__).parents[2] / "transcripts" / "client"
TRANSCRIPTS = sorted(FOLDER.glob("*.smtp"))


class Player:
    def __init__(self, lines: list[str], bytewise: bool) -> None:
        options = dict(line[3:].split(" ", 1) for line in lines if line.startswith("=: "))
        server = Server("mx.example", "192.0.2.1", 25, best=options.pop("best", "no") == "yes")
        watch = options.pop("watch_loops", "no") == "yes"
        old = options.pop("old_message", "no") == "yes"
        discard = frozenset(options.pop("discard", "").split())
        values: dict[str, object] = {}
        for name, value in options.items():
            kind = type(getattr(Manner("", ""), name))
            values[name] = frozenset(value.split()) if kind is frozenset else value == "yes" if kind is bool else value
        manner = Manner(**{"hostname": "me.example", "helo_name": "me.example", **values})  # type: ignore[arg-type]
        self.machine = Conversation(
            server, manner, nexthop="example", watch_loops=watch, old_message=old, discard=discard
        )
        self.bytewise = bytewise
        self.said = b""
        self.notes: list[str] = []
        self.mail = Mail(Envelope(sender="", arrival_time=0), "", (), (), 0)
        self.waiting = b""

    def collect(self) -> None:
        self.said += self.machine.take()
        self.notes += self.machine.notes
        self.machine.notes.clear()

    def flush(self) -> None:
        data, self.waiting = self.waiting, b""
        for piece in [data[i : i + 1] for i in range(len(data))] if self.bytewise else [data] if data else []:
            self.machine.feed(piece)
            self.collect()

    def step(self, line: str) -> None:
        verb, _, rest = line.partition(" ")
        verb = verb.rstrip(":")
        if verb == "S":
            self.waiting += rest.encode() + b"\r\n"
            return
        self.flush()
        machine = self.machine
        match verb:
            case "C":
                wanted = rest.encode() + b"\r\n"
                assert self.said.startswith(wanted), f"{line}: the client said {self.said!r}"
                self.said = self.said[len(wanted) :]
            case "QUIET":
                assert self.said == b""
            case "BEGIN":
                self.begin(rest)
            case "CONTENT":
                assert machine.wants_content
                machine.wants_content = False
                machine.content_sent()
            case "WANTED":
                assert machine.wants_content
            case "UNWANTED":
                assert not machine.wants_content
            case "LOST" | "TIMEOUT":
                machine.lost(verb == "TIMEOUT")
            case "QUIT":
                machine.quit()
                self.collect()
            case "R":
                self.check_result(rest)
            case "FAILURE":
                assert machine.failure is not None
                assert f"{machine.failure.dsn} {machine.failure.text}".startswith(rest)
            case "PHASE":
                assert machine.phase.value == rest
            case "STAGE":
                assert (machine.stage.name if machine.stage else "none") == rest
            case "CLOSE":
                assert machine.must_close is (rest == "yes")
            case "STALE":
                assert machine.stale is (rest == "yes")
            case "NOTE":
                assert any(rest in note for note in self.notes), self.notes
            case _:
                raise AssertionError(f"no such step: {line}")

    def begin(self, rest: str) -> None:
        words = rest.split(" ")
        options: dict[str, object] = {}
        size, probe = 100, False
        while words[0] in ("8bit", "binary", "utf8", "probe") or "=" in words[0].split("@")[0]:
            word = words.pop(0)
            if word in ("8bit", "binary"):
                options["encoding"] = word
            elif word == "utf8":
                options["smtputf8"] = True
            elif word == "probe":
                probe = True
            elif word.startswith("size="):
                size = int(word[5:])
            else:
                name, _, value = word.partition("=")
                options[name] = value
        sender = "" if words[0] == "<>" else words[0]
        recipients = []
        for word in words[1:]:
            address, *extra = word.split(",")
            values: dict[str, object] = {"address": address}
            for item in extra:
                name, _, value = item.partition("=")
                values[name] = tuple(value.split("+")) if name == "notify" else value
            recipients.append(Recipient.model_validate(values))
        envelope = Envelope.model_validate({"sender": sender, "arrival_time": 0.0, **options})
        self.mail = Mail(envelope, sender, recipients, [r.address for r in recipients], size, probe)
        self.machine.begin(self.mail)
        self.collect()

    def check_result(self, rest: str) -> None:
        number, kind, *more = rest.split(" ", 2)
        result = self.mail.results[int(number)]
        if kind == "none":
            assert result is None
            return
        assert isinstance(result, Sent if kind == "sent" else Trouble), result
        assert f"{result.dsn} {result.text}".startswith(more[0]), result


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path: Path, bytewise: bool) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    player = Player(lines, bytewise)
    for line in lines:
        if not line.startswith("=: "):
            player.step(line)
    player.flush()
    assert player.said == b"", "the client said more than the transcript has"


def test_there_are_transcripts() -> None:
    assert len(TRANSCRIPTS) > 15
