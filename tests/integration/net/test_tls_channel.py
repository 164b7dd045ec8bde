"""Channel.start_tls against itself over loopback, on both event loops: data of before, failure, time limit."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from tubepost.common.net import certificates, selfsigned
from tubepost.common.net.streams import Channel
from tubepost.common.net.tls import HandshakeError

Runner = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Runner:
    return asyncio.run if request.param == "asyncio" else uvloop.run


class Side(Channel):
    def __init__(self) -> None:
        super().__init__()
        self.data = b""
        self.losses = 0
        self.news = asyncio.Event()

    def received(self, data: bytes) -> None:
        self.data += data
        self.news.set()

    def lost(self, timed_out: bool) -> None:
        self.losses += 1
        self.news.set()

    async def next(self) -> bytes:
        async with asyncio.timeout(10):
            await self.news.wait()
        self.news.clear()
        data, self.data = self.data, b""
        return data


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    key, certificate = selfsigned.make(["localhost"])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates.load_chain(server, certificates.parse_chains(key + certificate, "x")[0])
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=certificate.decode())
    return server, client


async def pair() -> tuple[Side, Side, asyncio.Server]:
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Side] = loop.create_future()

    class Server(Side):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            accepted.set_result(self)

    listener = await loop.create_server(Server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    _, client = await loop.create_connection(Side, "127.0.0.1", port)
    return await accepted, client, listener


def test_both_sides_agree_and_talk(run: Runner) -> None:
    async def main() -> None:
        server_context, client_context = contexts()
        server, client, listener = await pair()
        client.write(b"STARTTLS\r\n")
        assert await server.next() == b"STARTTLS\r\n"
        server.write(b"220 go\r\n")
        assert await client.next() == b"220 go\r\n"
        ours, theirs = await asyncio.gather(
            server.start_tls(server_context, server_side=True, timeout=10),
            client.start_tls(client_context, server_side=False, server_hostname="localhost", timeout=10),
        )
        assert ours.protocol == theirs.protocol == "TLSv1.3"
        assert str(ours) == f"TLSv1.3 with cipher {ours.cipher} (256/256 bits)"
        assert ours.certificate is None
        assert theirs.certificate is not None and theirs.certificate.subject == "localhost"
        client.write(b"x" * 1_000_000)
        got = 0
        while got < 1_000_000:
            got += len(await server.next())
        server.write(b"y")
        assert await client.next() == b"y"
        client.finish()
        await server.next()
        assert server.losses == 1
        listener.close()

    run(main())


def test_what_comes_in_the_clear_instead_of_a_handshake_is_never_delivered(run: Runner) -> None:
    async def main() -> None:
        server_context, _ = contexts()
        server, client, listener = await pair()
        client.write(b"RCPT TO:<evil@example.test>\r\n" * 10)
        with pytest.raises(HandshakeError) as caught:
            await server.start_tls(server_context, server_side=True, timeout=10)
        assert caught.value.cause == "-1"
        assert (server.data, server.losses, server.closed) == (b"", 0, True)
        client.abort()
        listener.close()

    run(main())


def test_a_silent_peer_and_one_that_goes(run: Runner) -> None:
    async def main() -> None:
        server_context, _ = contexts()
        server, client, listener = await pair()
        with pytest.raises(HandshakeError, match="Connection timed out"):
            await server.start_tls(server_context, server_side=True, timeout=0.05)
        client.abort()
        listener.close()
        server, client, listener = await pair()
        client.finish()
        with pytest.raises(HandshakeError, match="lost connection"):
            await server.start_tls(server_context, server_side=True, timeout=10)
        assert server.losses == 0
        listener.close()

    run(main())


def test_a_certificate_of_nobody_is_refused(run: Runner) -> None:
    async def main() -> None:
        server_context, _ = contexts()
        server, client, listener = await pair()
        results = await asyncio.gather(
            server.start_tls(server_context, server_side=True, timeout=10),
            client.start_tls(ssl.create_default_context(), server_side=False, server_hostname="localhost", timeout=10),
            return_exceptions=True,
        )
        assert isinstance(results[1], HandshakeError) and results[1].verification
        server.abort()
        listener.close()

    run(main())


def test_what_comes_with_the_end_of_the_handshake_waits_for_the_caller(run: Runner) -> None:
    class Hasty(Side):
        """Answers at once."""

        def received(self, data: bytes) -> None:
            super().received(data)
            self.write(b"answer")

    async def main() -> None:
        server_context, client_context = contexts()
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[Hasty] = loop.create_future()

        class Server(Hasty):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                accepted.set_result(self)

        listener = await loop.create_server(Server, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.sockets[0].getsockname()[1])
        server = await accepted
        handshake = loop.create_task(server.start_tls(server_context, server_side=True, timeout=10))
        # As with STARTTLS, the client speaks when it is told to.
        await asyncio.sleep(0.01)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65536))
        # The last part of the handshake and the first command travel together.
        client.write(b"command")
        writer.write(outgoing.read())
        await handshake
        assert await server.next() == b"command"
        found = b""
        while not found:
            incoming.write(await reader.read(65536))
            try:
                found = client.read(100)
            except ssl.SSLWantReadError:
                pass
        assert found == b"answer"
        writer.close()
        server.abort()
        listener.close()

    run(main())
