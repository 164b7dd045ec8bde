"""The whole way through cleanup: real configuration, real tables, real queue files; the programs it asks are fakes."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tubepost.common.wire.base import Done, Message, Refused
from tubepost.common.wire.cleanup import Deposit, Deposited
from tubepost.common.wire.envelope import Envelope, Recipient
from tubepost.common.wire.qmgr import Arrived
from tubepost.common.wire.rewrite import Answers, Batch, Rewritten
from tubepost.common.bus import Unavailable
from tubepost.common.config import Config
from tubepost.common.spool import QueueFile, open_queue_file

from tubepost.services.cleanup.session import Cleanup


class Programs:
    """Everything that cleanup asks or tells."""

    def __init__(self) -> None:
        self.told: list[Message] = []
        self.traced: list[Message] = []
        self.down = False

    async def call(self, message: Message, reply: type[Message]) -> Message:
        if self.down:
            raise Unavailable("down")
        if isinstance(message, Batch):
            return Answers(rewrites=tuple(Rewritten(address=f"{one.address}@me.example") for one in message.rewrites))
        self.traced.append(message)
        return Done()

    def tell(self, message: Message) -> bool:
        self.told.append(message)
        return True


class Question:
    """A request of the bus, in one piece or in chunks."""

    def __init__(self, message: Deposit, content: bytes, size: int, death: bool) -> None:
        self.message = message
        self.streamed = size > 0
        self.payload = [content]
        self._parts = [content[place : place + size] for place in range(0, len(content), size)] if size else []
        self._death = death

    async def chunks(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            await asyncio.sleep(0)
            yield part
        if self._death:
            raise Unavailable("the caller died")


class House:
    """cleanup in a directory of its own."""

    def __init__(self, root: Path, **texts: str) -> None:
        self.root = root
        self.programs = Programs()
        self.config = Config(str(root), {"myhostname": "mx.example", "mydestination": "mx.example", **texts})

    def deposit(self, content: bytes, *, size: int = 0, death: bool = False, **changes: Any) -> Message:
        settings: dict[str, Any] = {
            "envelope": Envelope(sender="s@a.example", arrival_time=1795544452.0),
            "recipients": (Recipient(address="r@b.example"),),
            "source": "smtpd",
            "prepend": ("Received: by mx.example",),
        }
        question = Question(Deposit(**{**settings, **changes}), content, size, death)
        answer: Message = self.run(lambda cleanup: cleanup.deposit(question))  # type: ignore[arg-type]
        return answer

    def run(self, work: Callable[[Cleanup], Coroutine[Any, Any, Any]]) -> Any:
        async def all_of_it() -> Any:
            async def inflow() -> None:
                pass

            process = SimpleNamespace(
                config=self.config,
                birth=SimpleNamespace(config_directory=str(self.root)),
                client=lambda path: self.programs,
                inflow=inflow,
                loop=asyncio.get_running_loop(),
            )
            cleanup = Cleanup(process)  # type: ignore[arg-type]
            await cleanup.open()
            try:
                return await work(cleanup)
            finally:
                await cleanup.close()

        return asyncio.run(all_of_it())

    def files(self, queue: str = "incoming") -> list[str]:
        return os.listdir(self.root / queue)

    def file(self, answer: Message, queue: str = "incoming") -> tuple[QueueFile, bytes, list[Recipient]]:
        assert isinstance(answer, Deposited), answer
        file = open_queue_file(str(self.root / queue / answer.queue_id))
        with file:
            content = b"".join(file.content())
            recipients = [recipient for _, done, recipient, _ in file.recipients() if not done]
        assert len(content) == answer.size
        return file, content, recipients


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., House]:
    for queue in ("incoming", "hold"):
        (tmp_path / queue).mkdir()
    monkeypatch.chdir(tmp_path)
    return lambda **texts: House(tmp_path, **texts)


CONTENT = b"From: a@b.example\nMessage-Id: <m@x>\n\nbody\n.\n\n"

both_ways = pytest.mark.parametrize("size", [0, 1, 30, 10_000])


@both_ways
def test_a_message_is_queued_and_told_of(house: Callable[..., House], size: int) -> None:
    home = house()
    answer = home.deposit(CONTENT, size=size)
    file, content, recipients = home.file(answer)
    assert content == b"Received: by mx.example\n" + CONTENT
    assert recipients == [Recipient(address="r@b.example")]
    # The context says how a report or a copy that is made of it is to be rewritten.
    assert file.envelope == Envelope(sender="s@a.example", arrival_time=1795544452.0, rewrite_context="remote")
    (arrived,) = home.programs.told
    assert isinstance(arrived, Arrived)
    assert (arrived.queue_id, arrived.content_offset, arrived.content_length) == (
        getattr(answer, "queue_id", ""), file.content_offset, file.content_length,
    )  # fmt: skip
    with open(home.root / "incoming" / arrived.queue_id, "rb") as raw:
        raw.seek(arrived.recipients[0].offset)
        assert raw.read(1) == b"R"


@both_ways
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", b"Received: by mx.example\n\n"),
        (b"\nbody\n", b"Received: by mx.example\n\nbody\n"),
        (b"body\n", b"Received: by mx.example\n\nbody\n"),
        (b"A: 1\n", b"Received: by mx.example\nA: 1\n\n"),
        (b"A: 1\nno header\n", b"Received: by mx.example\nA: 1\n\nno header\n"),
        (b"A: 1\n\n\nx\ry\n", b"Received: by mx.example\nA: 1\n\n\nx y\n"),
        (b"Bcc: x\nA: 1\n\nx", b"Received: by mx.example\nA: 1\n\nx"),
    ],
)
def test_odd_contents(house: Callable[..., House], size: int, content: bytes, expected: bytes) -> None:
    home = house()
    assert home.file(home.deposit(content, size=size))[1] == expected


@both_ways
def test_binary_content_stays_as_it_is(house: Callable[..., House], size: int) -> None:
    home = house()
    envelope = Envelope(sender="", arrival_time=1.0, encoding="binary")
    answer = home.deposit(b"A: 1\r\n\r\n\x00\r\xff\n", size=size, envelope=envelope)
    file, content, _ = home.file(answer)
    assert content == b"Received: by mx.example\r\nA: 1\r\n\r\n\x00\r\xff\n"
    assert file.envelope.encoding == "binary"


@both_ways
def test_local_mail_is_completed(house: Callable[..., House], size: int) -> None:
    home = house()
    answer = home.deposit(
        b"To: joe\nBcc: eve@c.example\n\nx\n",
        size=size,
        recipients=(),
        extract_recipients=True,
        rewrite_context="local",
        source="pickup",
    )
    _, content, recipients = home.file(answer)
    assert content.startswith(b"Received: by mx.example\nTo: joe@me.example\nMessage-Id: <")
    assert content.endswith(b"\nFrom: s@a.example\n\nx\n")
    assert [recipient.address for recipient in recipients] == ["joe@me.example", "eve@c.example"]


@both_ways
@pytest.mark.parametrize(
    ("texts", "changes", "content", "expected"),
    [
        ({"message_size_limit": "40"}, {}, CONTENT, (552, "5.3.4", "Error: message file too big")),
        ({"message_size_limit": "60"}, {}, CONTENT, (552, "5.3.4", "Error: message file too big")),
        ({}, {"recipients": ()}, CONTENT, (550, "5.1.0", "Error: no recipients specified")),
        ({"hopcount_limit": "2"}, {}, b"Received: x\n\n", (554, "5.4.0", "Error: too many hops")),
        ({"header_checks": "regexp:{{/^from: a@b/ reject no}}"}, {}, CONTENT, (550, "5.7.1", "no")),
        ({"body_checks": "inline:{body=reject}"}, {}, CONTENT, (550, "5.7.1", "message content rejected")),
        ({"header_checks": "fail:now"}, {}, CONTENT, (451, "4.3.0", "Error: queue file write error")),
        ({"virtual_alias_maps": "fail:now"}, {}, CONTENT, (451, "4.3.0", "Error: queue file write error")),
        ({"canonical_maps": "texthash:/no/such"}, {}, CONTENT, (451, "4.3.0", "Error: queue file write error")),
    ],
)
def test_refusals_leave_nothing(
    house: Callable[..., House],
    size: int,
    texts: dict[str, str],
    changes: dict[str, Any],
    content: bytes,
    expected: tuple[int, str, str],
) -> None:
    home = house(**texts)
    answer = home.deposit(content, size=size, **changes)
    assert isinstance(answer, Refused), answer
    assert (answer.code, answer.dsn, answer.reason) == expected
    assert home.files() == []
    assert home.programs.told == []


def test_maps_of_the_configuration_work(house: Callable[..., House]) -> None:
    home = house(
        virtual_alias_maps="inline:{{r@b.example=one@b.example, two+x@b.example}}",
        recipient_delimiter="+",
        canonical_maps="inline:{two@b.example=zwei@b.example}",
        recipient_bcc_maps="inline:{{r@b.example=audit@b.example}}",
        always_bcc="all@b.example",
    )
    _, _, recipients = home.file(
        home.deposit(CONTENT, recipients=(Recipient(address="r@b.example", notify=("SUCCESS",)),))
    )
    assert [recipient.address for recipient in recipients] == [
        "one@b.example", "two+x@b.example", "audit@b.example", "all@b.example",
    ]  # fmt: skip
    assert recipients[0].notify == ("NEVER",)
    assert len(home.programs.traced) == 1


@both_ways
def test_hold(house: Callable[..., House], size: int) -> None:
    home = house()
    assert home.file(home.deposit(CONTENT, size=size, hold=True), "hold")[1].endswith(CONTENT)
    assert home.files() == []
    assert home.programs.told == []


@both_ways
def test_discard(house: Callable[..., House], size: int) -> None:
    home = house(header_checks="regexp:{{/^from: a@b/ discard}}")
    answer = home.deposit(CONTENT, size=size)
    assert isinstance(answer, Deposited)
    assert answer.discarded
    assert home.files() == []


def test_no_file_is_left_when_the_caller_dies(house: Callable[..., House]) -> None:
    home = house()
    with pytest.raises(Unavailable):
        home.deposit(CONTENT, size=10, death=True)
    assert home.files() == []


@both_ways
def test_no_rewrite_service_no_message(house: Callable[..., House], size: int) -> None:
    home = house()
    home.programs.down = True
    assert isinstance(home.deposit(CONTENT, size=size), Deposited)
    answer = home.deposit(CONTENT, size=size, recipients=(Recipient(address="joe"),))
    assert isinstance(answer, Refused)
    assert answer.code == 451


@both_ways
def test_a_disk_that_fails(house: Callable[..., House], size: int) -> None:
    home = house()
    (home.root / "incoming").chmod(0o500)
    (home.root / "incoming").rename(home.root / "elsewhere")
    (home.root / "incoming").write_text("in the way")
    answer = home.deposit(CONTENT, size=size)
    assert isinstance(answer, Refused)
    assert (answer.code, answer.dsn) == (451, "4.3.0")


def test_large_messages_are_written_in_portions(house: Callable[..., House]) -> None:
    home = house()
    content = CONTENT + b"0123456789abcde\n" * 100_000
    assert home.file(home.deposit(content, size=60_000))[1] == b"Received: by mx.example\n" + content


@pytest.mark.parametrize("size", [0, 60_000])
def test_a_header_of_countless_lines_is_refused(house: Callable[..., House], size: int) -> None:
    home = house()
    assert isinstance(home.deposit(b"A:\n" * 15_000 + b"\n", size=size), Deposited)
    answer = home.deposit(b"A:\n" * 25_000 + b"\n", size=size)
    assert isinstance(answer, Refused)
    assert (answer.code, answer.reason) == (552, "Error: message header too big")


def test_a_header_without_end_is_refused(house: Callable[..., House]) -> None:
    home = house()
    answer = home.deposit(b"A: " + b"x" * 3_000_000, size=60_000)
    assert isinstance(answer, Refused)
    assert (answer.code, answer.reason) == (552, "Error: message header too big")
