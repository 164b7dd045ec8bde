"""A mailbox that is shared with ``anyone``: LIST of another user shows it, in a confined program."""

import imaplib
import os

import pytest

from tests.fakes.instance import Instance

_OWN = {f"virtual_{kind}_maps": f"accounts:{kind}s, static:65534" for kind in ("uid", "gid")}


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
            assert b"user/" not in b"".join(client.list()[1])
        assert clients[second].setacl("News", "anyone", "lr")[0] == "OK"
        shown = f"user/{second}/News"
        assert [line for line in clients[first].list()[1] if line.endswith(shown.encode())]
        assert clients[first].select(shown, readonly=True)[0] == "OK"
        clients[second].deleteacl("News", "anyone")
        assert b"user/" not in b"".join(clients[first].list()[1])
        for client in clients.values():
            client.logout()
