"""A mailbox that is shared with ``anyone``: LIST of another user shows it, in a confined program."""

import imaplib
import os

import pytest

from tests.fakes.instance import Instance

_OWN = {f"virtual_{kind}_maps": f"accounts:{kind}s, static:65534" for kind in ("uid", "gid")}


def listed(client: imaplib.IMAP4) -> bytes:
    lines = client.list()[1]
    return b"\n".join(line for line in lines if isinstance(line, bytes))


@pytest.mark.parametrize("main", [{}, _OWN], ids=["one owner", "several"])
def test_anyone(main: dict[str, str]) -> None:
    if main and os.geteuid() != 0:
        pytest.skip("only root can act as others")
    with Instance(services=("imap",), main=main) as instance:
        first, second = sorted(instance.credentials)[:2]
        clients = {}
        for user in (first, second):
            clients[user] = imaplib.IMAP4("127.0.0.1", instance.ports["imap"])
            clients[user].login(user, instance.credentials[user])
        clients[second].create("News")
        for client in clients.values():
            assert b"user/" not in listed(client)
        assert clients[second].setacl("News", "anyone", "lr")[0] == "OK"
        shown = f"user/{second}/News"
        assert listed(clients[first]).count(shown.encode()) == 1
        assert clients[first].select(shown, readonly=True)[0] == "OK"
        clients[second].deleteacl("News", "anyone")
        assert b"user/" not in listed(clients[first])
        for client in clients.values():
            client.logout()
