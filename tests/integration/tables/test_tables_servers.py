"""tcp, socketmap and memcache against servers on loopback that behave, and that do not."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tubepost.common.tables import Table, TableEnvironment, TableError, open_table

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def serve(handler: Handler, check: Callable[[int], Awaitable[None]]) -> None:
    """Run ``check(port)`` with a server that closes each connection when its handler returns."""

    async def main() -> None:
        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(run, "127.0.0.1", 0)
        try:
            await check(server.sockets[0].getsockname()[1])
        finally:
            server.close()

    asyncio.run(main())


def table(spec: str) -> Table:
    return open_table(spec, environment=TableEnvironment(warn=lambda text: None), strict=True)


async def refused(asked: Awaitable[str | None], words: str) -> None:
    with pytest.raises(TableError, match=words):
        await asked


def test_tcp() -> None:
    lines: list[bytes] = []
    answers = {
        b"get a": b"200 one%20two\n",
        b"get b%20c%25": b"200 x\n",
        b"get none": b"500 no such key\n",
        b"get later": b"400 try again\n",
        b"get junk": b"hello\n",
        b"get long": b"200 " + b"x" * 5000 + b"\n",
    }

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            lines.append(line.rstrip(b"\n"))
            if line == b"get bye\n":
                return
            writer.write(answers[line.rstrip(b"\n")])

    async def check(port: int) -> None:
        asked = table(f"tcp:127.0.0.1:{port}")
        assert asked.patterned
        assert await asked.lookup("a") == "one two"
        assert await asked.lookup("b c%") == "x"
        assert await asked.lookup("none") is None
        await refused(asked.lookup("later"), "cannot tell now")
        await refused(asked.lookup("junk"), "not of this protocol")
        await refused(asked.lookup("long"), "longer than")
        await refused(asked.lookup("bye"), "broke")
        assert lines.count(b"get bye") == 2, "tried once more on a new connection"
        assert await asked.lookup("a") == "one two"
        assert await asyncio.gather(*(asked.lookup("a") for _ in range(20))) == ["one two"] * 20
        asked.close()

    serve(handler, check)


def test_a_question_given_up_does_not_shift_the_answers() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line == b"get slow\n":
                await asyncio.sleep(0.2)
            writer.write(b"200 " + line[4:])

    async def check(port: int) -> None:
        asked = table(f"tcp:127.0.0.1:{port}")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asked.lookup("slow"), 0.05)
        assert await asked.lookup("next") == "next"
        asked.close()

    serve(handler, check)


def test_nobody_listens() -> None:
    async def check() -> None:
        await refused(table("tcp:127.0.0.1:1").lookup("a"), "cannot connect")

    asyncio.run(check())
    with pytest.raises(TableError):
        table("tcp:nothing")


def test_socketmap() -> None:
    answers = {
        b"map a": b"6:OK one,",
        b"map none": b"9:NOTFOUND ,",
        b"map temp": b"8:TEMP why,",
        b"map perm": b"5:PERM ,",
        b"map huge": b"999999:",
        b"map bad": b"x:OK one,",
        b"map end": b"6:OK one;",
        b"map odd": b"3:odd,",
    }

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            size = await reader.readuntil(b":")
            data = await reader.readexactly(int(size[:-1]) + 1)
            writer.write(answers[data[:-1]])

    async def check(port: int) -> None:
        asked = table(f"socketmap:inet:127.0.0.1:{port}:map")
        assert await asked.lookup("a") == "one"
        assert await asked.lookup("none") is None
        await refused(asked.lookup("temp"), "temp.: why")
        await refused(asked.lookup("perm"), "perm")
        await refused(asked.lookup("huge"), "longer than")
        await refused(asked.lookup("bad"), "no netstring")
        await refused(asked.lookup("end"), "no netstring")
        await refused(asked.lookup("odd"), "not of this protocol")
        assert await asked.lookup("a") == "one"
        asked.close()

    serve(handler, check)
    with pytest.raises(TableError):
        table("socketmap:inet:x:map")


def test_memcache(tmp_path: Path) -> None:
    store: dict[bytes, bytes] = {}
    commands: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            commands.append(line)
            words = line.split()
            if words[0] == b"get":
                value = store.get(words[1])
                if value is not None:
                    writer.write(b"VALUE %b 0 %d\r\n%b\r\n" % (words[1], len(value), value))
                writer.write(b"END\r\n")
            elif words[0] == b"set":
                store[words[1]] = (await reader.readexactly(int(words[4]) + 2))[:-2]
                writer.write(b"STORED\r\n")
            else:
                writer.write(b"DELETED\r\n" if store.pop(words[1], None) is not None else b"NOT_FOUND\r\n")

    async def check(port: int) -> None:
        settings = f"memcache = inet:127.0.0.1:{port}\nkey_format = p:%s\nretry_pause = 0\n"
        (tmp_path / "plain").write_text(settings)
        (tmp_path / "backed").write_text(settings + "backup = inline:{{b=from behind}}\n")
        asked = table(f"memcache:{tmp_path}/plain")
        assert await asked.lookup("a") is None
        await asked.update("A", "ä\r\nEND")
        assert store == {b"p:a": "ä\r\nEND".encode()}
        assert await asked.lookup("a") == "ä\r\nEND"
        assert await asked.delete("a")
        assert not await asked.delete("a")
        count = len(commands)
        assert await asked.lookup("x y\r\nset p:z 0 0 1") is None, "a key that would be a command is not sent"
        assert len(commands) == count
        store[b"p:big"] = b"x" * 20_000
        await refused(asked.lookup("big"), "data_size_limit")
        backed = table(f"memcache:{tmp_path}/backed")
        assert await backed.lookup("b") == "from behind"
        assert store[b"p:b"] == b"from behind"
        backed.close()
        asked.close()

    serve(handler, check)

    async def without_server() -> None:
        (tmp_path / "gone").write_text("memcache = inet:127.0.0.1:1\nbackup = inline:{{b=from behind}}\n")
        assert await table(f"memcache:{tmp_path}/gone").lookup("b") == "from behind"

    asyncio.run(without_server())
