"""What goes wrong in the middle of a delivery: nothing is said twice, nothing stays open, nothing escapes."""

import asyncio
import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

from tubepost.common.net.connect import connect_tcp
from tubepost.common.net.streams import Channel
from tubepost.common.tables import TableError


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(300):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it has not happened")


def test_a_connection_lost_while_a_table_is_asked(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        peer = await scene.peer()
        client = scene.client()

        async def slow(address: str) -> str:
            await peer.stop()
            await asyncio.sleep(0.05)
            return address

        monkeypatch.setattr(client.agent, "generic", slow)
        (status,) = (await client.deliver(peer.nexthop)).statuses
        assert (status.status, status.dsn) == ("deferred", "4.4.2")
        assert status.text == "lost connection with 127.0.0.1[127.0.0.1] while sending MAIL FROM"

    scene.run(work)


def test_a_kept_connection_lost_while_a_table_is_asked(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        peer = await scene.peer()
        client = scene.client(smtp_connection_cache_destinations="127.0.0.1")
        await client.deliver(peer.nexthop)
        asked: list[str] = []

        async def slow(address: str) -> str:
            if not asked:
                for task in list(peer._tasks):
                    task.cancel()
                await asyncio.sleep(0.05)
            asked.append(address)
            return address

        monkeypatch.setattr(client.agent, "generic", slow)
        (status,) = (await client.deliver(peer.nexthop)).statuses
        assert status.status == "sent"
        assert peer.sessions == 2

    scene.run(work)


@pytest.mark.parametrize("error", [TableError("no table"), RuntimeError("a mistake"), RecursionError("deep")])
def test_what_was_sent_stays_sent_whatever_comes_after_it(
    scene: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Two transactions; our own trouble comes in the second."""

    async def work() -> None:
        peer = await scene.peer(keywords=("LIMITS RCPTMAX=1",))
        client = scene.client()

        async def generic(address: str) -> str:
            if address.startswith("carol"):
                raise error
            return address

        monkeypatch.setattr(client.agent, "generic", generic)
        report = await client.deliver(peer.nexthop, ["bob@example.net", "carol@example.net", "dan@example.net"])
        found = {status.offset: (status.status, status.dsn[:2]) for status in report.statuses}
        assert len(found) == 3
        assert list(dict(sorted(found.items())).values())[:2] == [("sent", "2."), ("deferred", "4.")]
        assert peer.messages[0][1] == ["bob@example.net"]
        await until(lambda: not peer._tasks)

    scene.run(work)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
def test_a_shortage_here_is_not_the_destination_s(scene: Any, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """It would be set aside, and its mail wait, long after the shortage is over."""

    def short(*arguments: object) -> object:
        raise OSError(number, os.strerror(number))

    async def work() -> None:
        peer = await scene.peer()
        with monkeypatch.context() as patched:
            patched.setattr("tubepost.common.net.connect.socket.socket", short)
            report = await scene.client().deliver(peer.nexthop)
        assert (report.statuses[0].status, report.statuses[0].dsn) == ("deferred", "4.3.1")
        assert report.destination == "ok"

    scene.run(work)


def test_a_mistake_in_a_next_hop_waits(scene: Any, logged: Callable[[], str]) -> None:
    async def work() -> None:
        (status,) = (await scene.client(lmtp=True).deliver("unix:")).statuses
        assert (status.status, status.dsn) == ("deferred", "4.3.5")

    scene.run(work)
    assert "panic" not in logged()


@pytest.mark.parametrize(
    "name",
    [".example.com", "a..b", "x" * 64 + ".example", "bücher" * 20],
    ids=["dot", "dots", "long", "unicode"],
)
def test_a_name_that_no_server_has_is_no_end_of_the_delivery(scene: Any, logged: Callable[[], str], name: str) -> None:
    async def work() -> None:
        peer = await scene.peer(tls=scene.server_tls())
        client = scene.client(smtp_tls_security_level="encrypt", smtp_tls_servername=name)
        (status,) = (await client.deliver(peer.nexthop)).statuses
        assert (status.status, status.dsn) == ("deferred", "4.7.5")
        await until(lambda: not peer._tasks)

    scene.run(work)
    assert "panic" not in logged()


def test_a_server_that_refuses_early_and_reads_no_more_is_not_held(scene: Any) -> None:
    """What is left to be sent to it is thrown away after a while, with its connection."""

    async def work() -> None:
        gone = asyncio.Event()

        async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 x\r\n")
            for reply in (b"250 x", b"250 ok", b"250 ok", b"354 go"):
                await reader.readline()
                writer.write(reply + b"\r\n")
            # Once all that is between the two is full.
            await asyncio.sleep(0.5)
            writer.write(b"550 5.7.1 no\r\n")
            await gone.wait()
            writer.close()

        server = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1024)
        client = scene.client(smtp_quit_timeout="1s")
        nexthop = f"[127.0.0.1]:{server.sockets[0].getsockname()[1]}"
        before = connections()
        report = await client.deliver(nexthop, content=b"Subject: x\n\n" + b"line\n" * 4_000_000)
        assert (report.statuses[0].status, report.statuses[0].dsn) == ("bounced", "5.7.1")
        await until(lambda: connections() == before + 1)
        gone.set()
        server.close()

    scene.run(work)


def test_who_never_reads_is_not_waited_for_at_the_end(scene: Any) -> None:
    class Talker(Channel):
        def received(self, data: bytes) -> None:
            raise AssertionError(data)

    async def work() -> None:
        gone = asyncio.Event()

        async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await gone.wait()
            writer.close()

        server = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1024)
        before = connections()
        talker = await connect_tcp(Talker, "127.0.0.1", server.sockets[0].getsockname()[1])
        talker.write(b"x" * 30_000_000)
        talker.finish(0.1)
        await until(lambda: connections() == before + 1)
        gone.set()
        server.close()

    scene.run(work)


def connections() -> int:
    """Sockets of this process that are open."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
        except OSError:
            continue
    return found


def test_a_reply_filter_that_cannot_tell(scene: Any, logged: Callable[[], str]) -> None:
    async def work() -> None:
        peer = await scene.peer()
        client = scene.client(smtp_reply_filter="fail:it")
        (status,) = (await client.deliver(peer.nexthop)).statuses
        assert (status.status, status.dsn) == ("deferred", "4.3.0")
        assert status.text == "local data error while talking to 127.0.0.1[127.0.0.1]"
        await until(lambda: not peer._tasks)

    scene.run(work)
    assert "warning: fail:it: this table fails on purpose" in logged()
    assert "Traceback" not in logged()
