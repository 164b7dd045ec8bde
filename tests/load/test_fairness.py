"""One recipient's flood and one destination's trouble are not others' delay."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.fakes.crowd import connect, deliver, numbers_of
from tests.fakes.dns import DnsServer
from tests.fakes.instance import Instance, free_port

BOMB, SENDERS = 20_000, 20
# The promise for who is not meant, seconds.
SOON = 5.0


async def _bomb(port: int, numbers: Iterator[int]) -> None:
    """One session after the other, each of many messages, as fast as they are taken."""
    line = await connect(port)
    await line.hear()
    await line.say(b"EHLO bomb.example.org\r\n", b"250")
    for number in numbers:
        await line.say(b"MAIL FROM:<bomb@example.org>\r\n", b"250")
        await line.say(b"RCPT TO:<alice@example.test>\r\n", b"250")
        await line.say(b"DATA\r\n", b"354")
        await line.say(b"Subject: number %d\r\n\r\nboom\r\n.\r\n" % number, b"250")
    line.close()


@pytest.mark.timeout(300)
def test_a_mail_bomb_delays_nobody_else() -> None:
    """20,000 messages to alice; meanwhile bob's mail is in his mailbox 5 s after its client came, at the latest."""
    with Instance(main={"smtpd_client_connection_count_limit": "0"}) as instance:
        delays: list[float] = []
        most: dict[str, int] = {}

        async def play() -> None:
            numbers = iter(range(BOMB))
            bombs = [asyncio.create_task(_bomb(instance.port, numbers)) for _ in range(SENDERS)]
            number = BOMB
            while not all(bomb.done() for bomb in bombs):
                begun = time.monotonic()
                await deliver(instance.port, "bob@example.test", number)
                while number not in numbers_of(instance.messages("bob")):
                    assert time.monotonic() - begun < 60
                    await asyncio.sleep(0.05)
                delays.append(time.monotonic() - begun)
                number += 1
                for row in await asyncio.to_thread(lambda: instance.status()["services"]):
                    most[row["program"]] = max(most.get(row["program"], 0), row["processes"])
                await asyncio.sleep(0.5)
            await asyncio.gather(*bombs)

        asyncio.run(play())
        print(f"bob's mail took {max(delays):.2f} s at most, {sum(delays) / len(delays):.2f} on average; {most}")
        assert len(delays) > 3
        assert max(delays) < SOON, delays
        # More mail never means more processes: these are as many as the sessions and deliveries need.
        assert sum(most.values()) < 30, most
        instance.log.wait(r"to=<alice@example\.test>.*status=sent", count=BOMB, timeout=120)
        assert len(instance.messages("alice")) == BOMB


class Sink:
    """An SMTP server that takes all, in threads of its own; ``slow``: seconds before each reply; ``dead``: it listens,
    and never says a word.
    """

    def __init__(self, address: str, port: int, *, slow: float = 0.0, dead: bool = False) -> None:
        self.address = address
        self.times: list[tuple[str, float]] = []
        """Of each message that came to its end: its Message-ID, when."""
        self._slow = slow
        self._dead = dead
        self._port = port
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.address, self._port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._dead:
            await reader.read()
            writer.close()
            return
        in_content, name = False, ""
        writer.write(b"220 sink\r\n")
        try:
            while line := await reader.readline():
                if in_content:
                    if line[:12].lower() == b"message-id: ":
                        name = line[12:].decode().strip()
                    if line != b".\r\n":
                        continue
                    in_content = False
                    self.times.append((name, time.monotonic()))
                if self._slow:
                    await asyncio.sleep(self._slow)
                verb = line[:4].upper()
                in_content = in_content or verb == b"DATA"
                writer.write(b"354 go on\r\n" if verb == b"DATA" else b"250 well\r\n")
        except OSError:
            pass
        finally:
            # The loop may be gone already, with whoever still spoke.
            with contextlib.suppress(RuntimeError):
                writer.close()


@contextmanager
def running(sinks: list[Sink]) -> Iterator[None]:
    """All in one thread with an event loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        for sink in sinks:
            asyncio.run_coroutine_threadsafe(sink.start(), loop).result(10)
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@pytest.mark.timeout(120)
def test_a_dead_and_a_slow_destination_among_fifty() -> None:
    """Ten messages to each of fifty good ones, behind two hundred to each of the bad ones, which wait for none."""
    port, good, bad = free_port(), 50, 200
    sinks = [Sink(f"127.0.2.{number + 1}", port) for number in range(good)]
    slow, dead = Sink("127.0.3.1", port, slow=3.0), Sink("127.0.3.2", port, dead=True)
    with ExitStack() as stack:
        dns = stack.enter_context(DnsServer())
        for number, sink in enumerate(sinks):
            dns.add(f"good{number}.test", "A", sink.address)
        dns.add("slow.test", "A", slow.address)
        dns.add("dead.test", "A", dead.address)
        # Nobody listens there: a connection is refused.
        dns.add("gone.test", "A", "127.0.3.3")
        stack.enter_context(running([*sinks, slow, dead]))
        instance = Instance(main={"dns_nameservers": dns.address, "smtp_tls_security_level": "none"})
        instance.set_main({"transport_maps": f"texthash:{instance.conf}/transport"})
        names = [*(f"good{number}" for number in range(good)), "slow", "dead", "gone"]
        instance.write_table("transport", "".join(f"{name}.test smtp:{name}.test:{port}\n" for name in names))
        stack.enter_context(instance)
        with instance.smtp() as client:
            for number in range(bad):
                for name in ("slow", "dead", "gone"):
                    client.sendmail("a@example.test", [f"u{number}@{name}.test"], "Subject: bad\n\nbody\n")
            accepted: dict[str, float] = {}
            for turn in range(10):
                for number in range(good):
                    name = f"<{turn}.{number}@load>"
                    text = f"Subject: good\nMessage-ID: {name}\n\nbody\n"
                    client.sendmail("a@example.test", [f"u@good{number}.test"], text)
                    accepted[name] = time.monotonic()
        last = max(accepted.values())
        while sum(len(sink.times) for sink in sinks) < len(accepted):
            assert time.monotonic() - last < 60, "\n".join(instance.log.lines[-40:])
            time.sleep(0.05)
        came = [arrival for sink in sinks for arrival in sink.times]
        assert sorted(name for name, _ in came) == sorted(accepted), "each of them once"
        delays = {name: at - accepted[name] for name, at in came}
        print(f"500 delivered within {max(delays.values()):.2f} s, {sum(delays.values()) / 500:.2f} on average")
        late = {name: delay for name, delay in delays.items() if delay >= SOON}
        assert not late, f"{len(late)} of the good ones waited: {late}"
        assert len(slow.times) < bad, "the bad ones are still at it"
