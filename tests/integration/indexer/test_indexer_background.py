"""New mail is indexed before anybody asks, and searches find it; results that a client keeps follow."""

import imaplib
import sqlite3

from tests.fakes.instance import Instance

MAIL = (
    "From: Ann <ann@example.org>\nTo: alice@example.test\nSubject: =?utf-8?B?5Lya6K6u?= plan\n"
    "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n6K6o6K665Lya6K6u57qq6KaB\n"
)


def _log_in(instance: Instance) -> imaplib.IMAP4:
    client = imaplib.IMAP4("127.0.0.1", instance.ports["imap"], timeout=20)
    client.login("alice@example.test", instance.credentials["alice@example.test"])
    client.select()
    return client


def _until(client: imaplib.IMAP4, start: bytes, never: bytes = b"\0") -> bytes:
    while True:
        line = client.readline()
        assert line, "the connection ended"
        assert not line.startswith(never), line
        if line.startswith(start):
            return line


def test_mail_is_indexed_and_idle_hears_of_results() -> None:
    with Instance(services=("imap",)) as instance:
        assert instance.pids("indexer") == []
        instance.send("alice@example.test", MAIL)
        instance.log.wait(r"indexer.*alice: indexed 1 message of INBOX")
        database = sqlite3.connect(f"{instance.mail}/example.test/alice/tubepost.db")
        assert database.execute("SELECT version>0, indexed FROM content").fetchall() == [(1, 1)]
        database.close()

        client = _log_in(instance)
        client.literal = "会议纪要".encode()  # type: ignore[assignment]  # typeshed says text, imaplib wants octets
        assert client.uid("SEARCH", "CHARSET", "UTF-8", "BODY") == ("OK", [b"1"])
        assert client.search(None, "SUBJECT", "PLA") == ("OK", [b"1"])
        assert client.search(None, "TEXT", '"lan plan"') == ("OK", [b""])

        # RFC 5267 4.3: a result that the client keeps, while it is in IDLE.
        client.send(b"u1 UID SEARCH RETURN (UPDATE COUNT) UNSEEN FROM ann\r\n")
        assert _until(client, b"* ESEARCH") == b'* ESEARCH (TAG "u1") UID COUNT 1\r\n'
        _until(client, b"u1 OK")
        client.send(b"i1 IDLE\r\n")
        _until(client, b"+")
        instance.send("alice@example.test", MAIL)
        assert _until(client, b"* ESEARCH") == b'* ESEARCH (TAG "u1") UID ADDTO (0 2)\r\n'
        other = _log_in(instance)
        other.uid("STORE", "1", "+FLAGS", "(\\Seen)")
        assert _until(client, b"* ESEARCH") == b'* ESEARCH (TAG "u1") UID REMOVEFROM (0 1)\r\n'
        other.logout()
        client.send(b"DONE\r\n")
        _until(client, b"i1 OK")
        client.send(b'c1 CANCELUPDATE "u1"\r\n')
        _until(client, b"c1 OK")
        client.send(b"n1 UID STORE 2 +FLAGS (\\Seen)\r\nn2 NOOP\r\n")
        _until(client, b"* 2 FETCH", never=b"* ESEARCH")
        _until(client, b"n2 OK", never=b"* ESEARCH")
        client.logout()


def test_it_does_not_index_texts_where_that_is_not_wanted() -> None:
    with Instance(services=("imap",), main={"indexer_full_text": "no"}) as instance:
        instance.send("alice@example.test", MAIL)
        instance.log.wait(r"indexer.*alice: indexed 1 message of INBOX")
        database = sqlite3.connect(f"{instance.mail}/example.test/alice/tubepost.db")
        assert database.execute("SELECT version>0, indexed FROM content").fetchall() == [(1, 0)]
        database.close()
        client = _log_in(instance)
        assert client.search(None, "TEXT", "plan") == ("OK", [b"1"])
        client.logout()
