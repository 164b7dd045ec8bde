"""TLS as the tests' own clients have it, on loopback: nobody's word about the certificate is needed."""

import ssl
from pathlib import Path

from tubepost.common.net import selfsigned


def localhost(directory: Path) -> ssl.SSLContext:
    """For a server: a certificate of its own for localhost, written to the directory."""
    key, certificate = selfsigned.make(["localhost"], ["127.0.0.1"])
    path = directory / "localhost.pem"
    path.write_bytes(key + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def trusting() -> ssl.SSLContext:
    """For a client that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, *, name: str | None = None, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both sides in this process: the server's end, the client's end. Raises SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = server.wrap_bio(to_server, to_client, server_side=True)
    there = client.wrap_bio(to_client, to_server, server_hostname=name, session=session)
    waiting = [there, here]
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    return here, there
