"""memcache: tables against Debian's memcached, and beside Postfix's own look-ups in the same cache."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tubepost.common.tables import Table, TableEnvironment, TableError, open_table

from tests.fakes.instance import PATIENCE, Instance, free_port

MEMCACHED = shutil.which("memcached")
POSTMAP = "/usr/sbin/postmap"
pytestmark = pytest.mark.skipif(MEMCACHED is None, reason="memcached is not installed")


class Server:
    def __init__(self) -> None:
        self.port = free_port()
        self.start()

    def start(self) -> None:
        account = ["-u", "nobody"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(
            [MEMCACHED or "", *account, "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", "16"]
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                return
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def tell(self, command: bytes) -> bytes:
        """One command of the text protocol, and its answer."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(command + b"\r\n")
            answer = b""
            while not answer.endswith((b"END\r\n", b"STORED\r\n", b"OK\r\n")):
                answer += connection.recv(65536)
            return answer


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


def write(folder: Path, server: Server, name: str, more: str = "") -> str:
    path = folder / name
    path.write_text(f"memcache = inet:127.0.0.1:{server.port}\nkey_format = {name}:%s\n{more}")
    return f"memcache:{path}"


def run(spec: str, work: Callable[[Table], Awaitable[None]]) -> None:
    async def go() -> None:
        table = open_table(spec, environment=TableEnvironment(warn=lambda text: None), strict=True)
        try:
            await work(table)
        finally:
            table.close()

    asyncio.run(go())


def test_values_go_in_and_come_out(server: Server, tmp_path: Path) -> None:
    async def work(table: Table) -> None:
        assert await table.lookup("a") is None
        await table.update("A", "ä value\r\nEND\r\n")
        assert await table.lookup("a") == "ä value\r\nEND\r\n"
        assert b"VALUE first:a 0 15\r\n" in server.tell(b"get first:a")
        assert await table.delete("a")
        assert not await table.delete("a")
        assert await table.lookup("a") is None
        # What would be a command is not sent; what is too long for a key is not there.
        for key in ("x y", "x\r\nflush_all", "x" * 300, "\0"):
            assert await table.lookup(key) is None
        await asyncio.gather(*(table.update(f"k{number}", str(number)) for number in range(50)))
        found = await asyncio.gather(*(table.lookup(f"k{number}") for number in range(50)))
        assert found == [str(number) for number in range(50)]

    run(write(tmp_path, server, "first"), work)


def test_time_to_live(server: Server, tmp_path: Path) -> None:
    async def work(table: Table) -> None:
        await table.update("a", "1")
        assert await table.lookup("a") == "1"
        deadline = time.monotonic() + PATIENCE
        while await table.lookup("a") is not None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)

    run(write(tmp_path, server, "short", "ttl = 1\n"), work)


def test_a_value_that_the_server_refuses(server: Server, tmp_path: Path) -> None:
    async def work(table: Table) -> None:
        with pytest.raises(TableError):
            # The server's limit is a mebibyte.
            await table.update("big", "x" * 1_500_000)
        # The connection is in step afterwards.
        await table.update("a", "1")
        assert await table.lookup("a") == "1"

    run(write(tmp_path, server, "big", "data_size_limit = 2000000\n"), work)


def test_a_server_that_was_restarted(tmp_path: Path) -> None:
    server = Server()
    try:

        async def work(table: Table) -> None:
            server.tell(b"set again:a 0 0 1\r\n1")
            assert await table.lookup("a") == "1"
            server.stop()
            assert await table.lookup("b") == "behind", "the backup answers alone"
            server.start()
            assert await table.lookup("a") is None
            assert await table.lookup("b") == "behind"
            assert b"behind" in server.tell(b"get again:b"), "what the backup knows is put into the cache"

        run(write(tmp_path, server, "again", "retry_pause = 0\nbackup = inline:{{b=behind}}\n"), work)
    finally:
        server.stop()


@pytest.mark.skipif(not os.path.exists(POSTMAP), reason="Postfix is not installed")
def test_beside_postfix(server: Server, tmp_path: Path) -> None:
    """One cache, two mail systems: each finds what the other has put there."""
    spec = write(tmp_path, server, "shared")
    (tmp_path / "main.cf").write_text("compatibility_level = 3.6\nmyhostname = mx.example.test\n")
    tmp_path.chmod(0o755)

    def theirs(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [POSTMAP, "-c", str(tmp_path), *arguments, spec], capture_output=True, text=True, timeout=20, check=False
        )
        return done.returncode, done.stdout.rstrip("\n")

    async def work(table: Table) -> None:
        await table.update("user@example.test", "one, two")
        assert theirs("-q", "user@example.test") == (0, "one, two")
        assert theirs("-q", "USER@example.test") == (0, "one, two")
        server.tell(b"set shared:b 0 0 5\r\nthree")
        assert await table.lookup("B") == "three"
        assert theirs("-q", "b") == (0, "three")

    run(spec, work)


def test_aliases_in_the_cache(server: Server) -> None:
    """cleanup has no network: it asks proxymap."""
    made = Instance()
    made.write_table("cache.cf", f"memcache = inet:127.0.0.1:{server.port}\nkey_format = mail:%s\n")
    made.set_main({"virtual_alias_maps": "proxy:memcache:$config_directory/cache.cf"})
    server.tell(b"set mail:team@example.test 0 0 18\r\nalice@example.test")
    with made:
        made.send("team@example.test")
        made.log.wait(r"to=<alice@example\.test>, orig_to=<team@example\.test>.*status=sent")
