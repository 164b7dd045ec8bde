"""Servers that say odd things at each stage: what becomes of the mail, in the words of the log, is what becomes of it
with a real Postfix that talks to the same server.
"""

import asyncio
import re
import smtplib
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from tests.fakes.instance import Instance, Log
from tests.fakes.postfix import UNUSABLE, PostfixPeer

pytestmark = pytest.mark.skipif(bool(UNUSABLE), reason=UNUSABLE)

CLOSE = b"CLOSE"
Speech = dict[str, bytes]
# Each with what the server says at these stages; elsewhere it says yes. KEYWORDS: of its EHLO reply.
SERVERS: list[Speech] = [
    {},
    *(
        {"GREETING": says}
        for says in (b"421 4.3.2 no", b"554 5.7.1 no", b"450 later", CLOSE, b"220-a\r\n220 b", b"220")
    ),
    *({"EHLO": says} for says in (b"421 4.3.2 go", b"500 what", CLOSE)),
    *({"EHLO": b"550 no", "HELO": says} for says in (b"550 5.7.1 no", b"450 no")),
    *({"MAIL": says} for says in (b"421 4.3.2 bye", b"451 x", b"550 5.1.8 bad", b"500 what", b"555 x", CLOSE)),
    *({"RCPT": says} for says in (b"421 4.3.2 bye", b"450 4.2.1 grey", b"550 5.1.1 unknown", b"550 unknown", CLOSE)),
    *({"RCPT": says} for says in (b"551 moved", b"552 full", b"553 name", b"250 5.1.1 hm", b"550 4.1.1 hm", b"252 ok")),
    {"RCPT": b"550-5.1.1 one\r\n550 5.7.1 two"},
    *({"DATA": says} for says in (b"421 bye", b"450 4.5.0 x", b"554 5.6.0 x", b"250 x", CLOSE, b"354-a\r\n354 b")),
    *({"DOT": says} for says in (b"421 4.3.0 x", b"452 full", b"554 5.7.1 no", CLOSE, b"250 ok", b"250 4.1.1 ok")),
    *({"DOT": says} for says in (b"550 x", b"500 x", b"552 x", b"250-2.0.0 a\r\n250 2.6.0 b")),
    *({"KEYWORDS": says} for says in (b"SIZE 0", b"SIZE abc")),
    {"KEYWORDS": b"PIPELINING", "RCPT": b"550 5.1.1 x"},
    {"KEYWORDS": b"PIPELINING", "MAIL": b"550 5.1.8 x", "RCPT": b"503 5.5.1 need", "DATA": b"503 5.5.1 need"},
    {"KEYWORDS": b"PIPELINING", "RCPT": b"450 x", "DATA": b"421 x"},
    {"KEYWORDS": b"PIPELINING", "DATA": b"451 4.3.0 x"},
]
_YES = {"GREETING": b"220 x ESMTP", "DATA": b"354 go", "DOT": b"250 2.0.0 queued", "QUIT": b"221 bye"}


async def serve(speech: Speech, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    def say(stage: str) -> None:
        says = speech.get(stage, _YES.get(stage, b"250 2.1.0 ok"))
        if says == CLOSE:
            raise ConnectionResetError
        writer.write(says + b"\r\n")

    try:
        say("GREETING")
        while line := await reader.readline():
            verb = line.split()[0].decode().upper()
            if verb == "EHLO" and "EHLO" not in speech:
                writer.write(b"250-x\r\n250 " + speech.get("KEYWORDS", b"HELP") + b"\r\n")
                continue
            say(verb)
            if verb == "DATA" and speech.get("DATA", b"354").startswith(b"354"):
                while await reader.readline() not in (b".\r\n", b""):
                    pass
                say("DOT")
            if verb == "QUIT":
                return
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.fixture(scope="module")
def ports() -> Iterator[list[int]]:
    """Of the servers, in their order."""
    found: list[int] = []
    ready = threading.Event()
    stopping: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def live() -> None:
        stop = asyncio.Event()
        stopping.append((asyncio.get_running_loop(), stop))
        for speech in SERVERS:
            server = await asyncio.start_server(partial(serve, speech), "127.0.0.1", 0)
            found.append(server.sockets[0].getsockname()[1])
        ready.set()
        await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(live(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield found
    loop, stop = stopping[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)


def test_verdicts(ports: list[int]) -> None:
    lines = ", ".join(f"{{ s{n}.far.test = smtp:[127.0.0.1]:{port} }}" for n, port in enumerate(ports))
    main = {"transport_maps": f"inline:{{ {lines} }}"}

    def verdict(log: Log, number: int) -> tuple[str, ...]:
        found = log.wait(rf"to=<u@s{number}\.far\.test>.* (dsn=\S+), (status=.*)")[0]
        return tuple(re.sub(r"(?<=:)\d+", "PORT", word) for word in found.groups())

    with PostfixPeer(main) as postfix, Instance(main=main) as instance:
        for port in (postfix.port, instance.port):
            with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
                for number in range(len(ports)):
                    client.sendmail("user@peer.test", [f"u@s{number}.far.test"], "Subject: x\n\nhello\n")
        theirs = [(SERVERS[number], verdict(postfix.log, number)) for number in range(len(ports))]
        ours = [(SERVERS[number], verdict(instance.log, number)) for number in range(len(ports))]
    assert ours == theirs
    assert len({words for _, words in theirs}) > 30
