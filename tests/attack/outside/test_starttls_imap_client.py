"""Before TLS, `tubepost mailbox import`, the client of other IMAP servers: what is put in behind the answer to STARTTLS
ends it before the handshake, and no password is said."""

import re
import socket
import ssl
import threading
from pathlib import Path

import pytest

from tests.fakes.tls import localhost, trusting
from tubepost.commands.mailbox.address import RemoteError, parse_address
from tubepost.commands.mailbox.remote import Remote

PATIENCE = 20
BEHIND = {
    "capabilities": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n",
    "answers": b"t2 OK done\r\nt3 OK done\r\n",
    "half a line": b"* OK [CAPA",
    "line end": b"\r\n",
    "literal": b"* FLAGS {4000}\r\n",
    "alert": b"* OK [ALERT] go to evil.example\r\n",
}


class Meddler(threading.Thread):
    """An IMAP server; ``behind`` comes in the clear with its answer to STARTTLS. ``secret``: heard within TLS."""

    def __init__(self, directory: Path, behind: bytes) -> None:
        super().__init__(daemon=True)
        self._context = localhost(directory)
        self._behind = behind
        self.said: list[bytes] = []
        self.secret: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        address = parse_address(f"imap://alice@127.0.0.1:{self._listener.getsockname()[1]}")
        assert address is not None
        self.address = address
        self.start()

    def run(self) -> None:
        client, _ = self._listener.accept()
        self._listener.close()
        client.settimeout(PATIENCE)
        with client:
            client.sendall(b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] x\r\n")
            self.said.append(client.recv(1000))
            tag = self.said[0].split()[0]
            client.sendall(tag + b" OK go\r\n" + self._behind)
            try:
                with self._context.wrap_socket(client, server_side=True) as secure, secure.makefile("rb") as lines:
                    self._converse(secure, lines)
            except OSError:
                pass

    def _converse(self, secure: ssl.SSLSocket, lines: "object") -> None:
        for line in lines:  # type: ignore[attr-defined]
            tag, _, words = line.strip().partition(b" ")
            self.secret.append(words)
            if words == b"CAPABILITY":
                secure.sendall(b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\n")
            secure.sendall(tag + b" OK done\r\n")


@pytest.mark.parametrize("kind", BEHIND)
def test_what_is_put_in_ends_it(tmp_path: Path, kind: str) -> None:
    meddler = Meddler(tmp_path, BEHIND[kind])
    with pytest.raises(RemoteError, match="more than the answer to STARTTLS"):
        Remote(meddler.address, context=trusting())
    meddler.join(PATIENCE)
    assert [line.split()[1] for line in meddler.said] == [b"STARTTLS"]
    assert not meddler.secret


def test_without_a_meddler(tmp_path: Path) -> None:
    """It is there within TLS, asks again what the server can, and says its password."""
    meddler = Meddler(tmp_path, b"")
    remote = Remote(meddler.address, context=trusting())
    remote.login("alice", "secret")
    remote.close()
    meddler.join(PATIENCE)
    assert [line.split()[1] for line in meddler.said] == [b"STARTTLS"]
    assert meddler.secret[0] == b"CAPABILITY"
    assert re.match(rb"AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==", meddler.secret[1])
