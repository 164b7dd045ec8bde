"""What becomes of mail when the server is well, unwell, rude or absent, stage by stage."""

from collections.abc import Callable
from typing import Any

import pytest

from tubepost.common.wire.envelope import Origin, Recipient

CLOSE, HANG = b"CLOSE", b"HANG"


def test_one_message(scene: Any, logged: Callable[[], str]) -> None:
    async def work() -> None:
        peer = await scene.peer()
        client = scene.client()
        recipients = ["bob@example.net", "eve@example.net"]
        report = await client.deliver(peer.nexthop, recipients, b"Subject: x\n\n.dot\nend\n")
        assert [status.status for status in report.statuses] == ["sent", "sent"]
        assert report.statuses[0].text == "250 2.0.0 Ok: queued as X"
        assert report.statuses[0].dsn_passed and not report.statuses[0].relayed
        sender, recipients, content = peer.messages[0]
        assert (sender, recipients) == ("alice@example.test", ["bob@example.net", "eve@example.net"])
        assert content == b"Subject: x\r\n\r\n..dot\r\nend\r\n.\r\n"
        assert peer.commands[0] == "EHLO me.example"

    scene.run(work)
    lines = [line for line in logged().splitlines() if "status=sent" in line]
    assert len(lines) == 2
    assert "relay=127.0.0.1[127.0.0.1]:" in lines[0]
    assert "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as X)" in lines[0]


REFUSED = b"550 5.7.1 no"
LATER = b"450 4.7.0 later"


@pytest.mark.parametrize(
    ("says", "status", "dsn", "words", "unreachable"),
    [
        ({"GREETING": CLOSE}, "deferred", "4.4.2", "while receiving the initial server greeting", True),
        ({"GREETING": b"554 no"}, "deferred", "4.0.0", "refused to talk to me: 554 no", True),
        ({"GREETING": b"421 4.3.2 busy"}, "deferred", "4.3.2", "refused to talk to me: 421 4.3.2 busy", True),
        ({"GREETING": b"SSH-2.0-x"}, "deferred", "4.5.0", "does not speak SMTP", True),
        ({"GREETING": b"220-x\r\n" * 2000 + b"220 y"}, "deferred", "4.5.0", "does not speak SMTP", True),
        ({"GREETING": b"220 " + b"x" * 100_000}, "deferred", "4.5.0", "does not speak SMTP", True),
        ({"EHLO": CLOSE}, "deferred", "4.4.2", "while performing the EHLO handshake", True),
        ({"EHLO": b"502 no", "HELO": b"550 no"}, "bounced", "5.0.0", "refused to talk to me: 550 no", False),
        ({"MAIL": CLOSE}, "deferred", "4.4.2", "while sending MAIL FROM", True),
        ({"MAIL": REFUSED}, "bounced", "5.7.1", "said: 550 5.7.1 no (in reply to MAIL FROM command)", False),
        ({"MAIL": LATER}, "deferred", "4.7.0", "said: 450 4.7.0 later (in reply to MAIL FROM command)", False),
        ({"RCPT": CLOSE}, "deferred", "4.4.2", "while sending RCPT TO", True),
        ({"RCPT": REFUSED}, "bounced", "5.7.1", "(in reply to RCPT TO command)", False),
        ({"RCPT": LATER}, "deferred", "4.7.0", "(in reply to RCPT TO command)", False),
        ({"DATA": CLOSE}, "deferred", "4.4.2", "while sending DATA command", True),
        ({"DATA": REFUSED}, "bounced", "5.7.1", "(in reply to DATA command)", False),
        ({"DATA": LATER}, "deferred", "4.7.0", "(in reply to DATA command)", False),
        ({"DOT": CLOSE}, "deferred", "4.4.2", "message may be sent more than once", True),
        ({"DOT": REFUSED}, "bounced", "5.7.1", "(in reply to end of DATA command)", False),
        ({"DOT": LATER}, "deferred", "4.7.0", "(in reply to end of DATA command)", False),
        ({"DOT": b"999 what"}, "deferred", "4.5.0", "does not speak SMTP", True),
        ({"QUIT": CLOSE}, "sent", "2.0.0", "250 2.0.0 Ok", False),
    ],
)
@pytest.mark.parametrize("keywords", [(), ("PIPELINING",)], ids=["stepwise", "pipelined"])
def test_misbehaviour(
    scene: Any, says: dict[str, bytes], status: str, dsn: str, words: str, unreachable: bool, keywords: tuple[str, ...]
) -> None:
    async def work() -> None:
        peer = await scene.peer(says, keywords=keywords)
        report = await scene.client().deliver(peer.nexthop)
        (found,) = report.statuses
        assert (found.status, found.dsn) == (status, dsn), found
        assert words in found.text
        assert (report.destination == "unreachable") is unreachable
        assert (report.why is not None) is unreachable

    scene.run(work)


@pytest.mark.parametrize(
    ("stage", "parameter", "words"),
    [
        ("GREETING", "smtp_helo_timeout", "timed out while receiving the initial server greeting"),
        ("EHLO", "smtp_helo_timeout", "timed out while performing the EHLO handshake"),
        ("MAIL", "smtp_mail_timeout", "timed out while sending MAIL FROM"),
        ("RCPT", "smtp_rcpt_timeout", "timed out while sending RCPT TO"),
        ("DATA", "smtp_data_init_timeout", "timed out while sending DATA command"),
        ("DOT", "smtp_data_done_timeout", "timed out while sending end of data"),
    ],
)
def test_timeouts(scene: Any, stage: str, parameter: str, words: str) -> None:
    async def work() -> None:
        peer = await scene.peer({stage: HANG})
        report = await scene.client(**{parameter: "1s"}).deliver(peer.nexthop)
        assert report.statuses[0].text.startswith("conversation with 127.0.0.1[127.0.0.1]")
        assert words in report.statuses[0].text
        assert report.destination == "unreachable"

    scene.run(work)


def test_a_server_that_stops_reading_is_given_up(scene: Any) -> None:
    async def work() -> None:
        peer = await scene.peer({"BODY": HANG}, keywords=())
        client = scene.client(smtp_data_xfer_timeout="1s")
        report = await client.deliver(peer.nexthop, content=b"Subject: x\n\n" + b"x" * 70 + b"\n" * 20_000_000)
        assert "timed out while sending message body" in report.statuses[0].text

    scene.run(work)


def test_a_verdict_before_the_end_counts(scene: Any) -> None:
    async def work() -> None:
        peer = await scene.peer({"BODY": b"552 5.3.4 too big"})
        report = await scene.client().deliver(peer.nexthop, content=b"Subject: x\n\n" + b"line\n" * 2_000_000)
        assert (report.statuses[0].status, report.statuses[0].dsn) == ("bounced", "5.3.4")

    scene.run(work)


def test_nobody_listens(scene: Any) -> None:
    async def work() -> None:
        peer = await scene.peer()
        await peer.stop()
        report = await scene.client().deliver(peer.nexthop)
        (status,) = report.statuses
        assert status.dsn == "4.4.1"
        assert status.text == f"connect to 127.0.0.1[127.0.0.1]:{peer.port}: Connection refused"
        assert status.relay == "none"
        assert report.destination == "unreachable"
        assert report.why is not None and report.why.offset == -1

    scene.run(work)


def test_each_recipient_has_its_own_result(scene: Any) -> None:
    async def work() -> None:
        peer = await scene.peer({"RCPT b@x.example": REFUSED, "RCPT c@x.example": LATER})
        report = await scene.client().deliver(peer.nexthop, ["a@x.example", "b@x.example", "c@x.example"])
        by_offset = sorted(report.statuses, key=lambda status: status.offset)
        assert [status.status for status in by_offset] == ["sent", "bounced", "deferred"]
        assert report.destination == "ok"

    scene.run(work)


def test_the_fallback_relay_takes_what_was_deferred_only(scene: Any) -> None:
    async def work() -> None:
        first = await scene.peer({"RCPT b@x.example": REFUSED, "RCPT c@x.example": LATER})
        second = await scene.peer()
        client = scene.client(smtp_fallback_relay=second.nexthop)
        report = await client.deliver(first.nexthop, ["a@x.example", "b@x.example", "c@x.example"])
        by_offset = sorted(report.statuses, key=lambda status: status.offset)
        assert [status.status for status in by_offset] == ["sent", "bounced", "sent"]
        assert [message[1] for message in second.messages] == [["c@x.example"]]

    scene.run(work)


def test_connections_are_kept_while_more_mail_comes(scene: Any, logged: Callable[[], str]) -> None:
    async def work() -> None:
        peer = await scene.peer()
        client = scene.client()
        for _ in range(4):
            await client.deliver(peer.nexthop)
        assert len(peer.messages) == 4
        # The first one could not know; the second kept its connection.
        assert peer.sessions == 2
        assert "RSET" in peer.commands

    scene.run(work)
    assert "conn_use=3" in logged()


def test_a_kept_connection_that_died_costs_nothing(scene: Any) -> None:
    async def work() -> None:
        peer = await scene.peer({"RSET": b"421 4.4.2 idle"})
        client = scene.client()
        for _ in range(3):
            report = await client.deliver(peer.nexthop)
            assert report.statuses[0].status == "sent"
        assert len(peer.messages) == 3

    scene.run(work)


@pytest.mark.parametrize(("settings", "sessions"), [({}, 2), ({"smtp_connection_reuse_count_limit": "2"}, 3)])
def test_reuse_count(scene: Any, settings: dict[str, str], sessions: int) -> None:
    async def work() -> None:
        peer = await scene.peer()
        client = scene.client(**settings)
        for _ in range(5):
            await client.deliver(peer.nexthop)
        assert peer.sessions == sessions

    scene.run(work)


def test_no_cache_when_it_is_off(scene: Any) -> None:
    async def work() -> None:
        peer = await scene.peer()
        client = scene.client(smtp_connection_cache_on_demand="no")
        for _ in range(3):
            await client.deliver(peer.nexthop)
        assert peer.sessions == 3

    scene.run(work)


def test_quit_is_waited_for_when_asked(scene: Any) -> None:
    async def work() -> None:
        peer = await scene.peer()
        client = scene.client(smtp_skip_quit_response="no")
        await client.deliver(peer.nexthop)
        for task in client.tasks:
            await task
        assert peer.commands[-1] == "QUIT"

    scene.run(work)


def test_size_limit(scene: Any) -> None:
    async def work() -> None:
        peer = await scene.peer(keywords=("SIZE 20",))
        report = await scene.client().deliver(peer.nexthop, content=b"x" * 21)
        assert report.statuses[0].dsn == "5.3.4"
        assert "message size 21 exceeds size limit 20 of server 127.0.0.1[127.0.0.1]" in report.statuses[0].text
        assert not any(command.startswith("MAIL") for command in peer.commands)

    scene.run(work)


def test_utf8_needs_a_server_that_has_it(scene: Any) -> None:
    async def work() -> None:
        peer = await scene.peer(keywords=("8BITMIME",))
        client = scene.client()
        report = await client.deliver(peer.nexthop, ["ü@example.net"], smtputf8=True)
        assert (report.statuses[0].status, report.statuses[0].dsn) == ("bounced", "5.6.7")
        header, body = "Subject: ü\n\nx\n".encode(), "Subject: x\n\nü\n".encode()
        report = await client.deliver(peer.nexthop, content=header, smtputf8=True, encoding="8bit")
        assert report.statuses[0].dsn == "5.6.7"
        # Asked for, but nothing of it is used: any server will do.
        report = await client.deliver(peer.nexthop, content=body, smtputf8=True, encoding="8bit")
        assert report.statuses[0].status == "sent"
        able = await scene.peer()
        report = await client.deliver(able.nexthop, ["ü@example.net"], smtputf8=True)
        assert report.statuses[0].status == "sent"
        assert any(command.endswith(" SMTPUTF8") for command in able.commands)

    scene.run(work)


EIGHT_BIT = (
    "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\ngrün\n"
).encode()


def test_eight_bit_content_is_converted_where_it_must_be(scene: Any) -> None:
    async def work() -> None:
        plain = await scene.peer(keywords=())
        able = await scene.peer()
        client = scene.client()
        await client.deliver(plain.nexthop, content=EIGHT_BIT, encoding="8bit")
        await client.deliver(able.nexthop, content=EIGHT_BIT, encoding="8bit")
        assert b"gr=C3=BCn\r\n" in plain.messages[0][2]
        assert b"Content-Transfer-Encoding: quoted-printable" in plain.messages[0][2]
        assert "grün\r\n".encode() in able.messages[0][2]

    scene.run(work)


def test_binary_content(scene: Any) -> None:
    content = (
        b"MIME-Version: 1.0\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        b"\x00\n\r.\r\n\xff"
    )

    async def work() -> None:
        able = await scene.peer(keywords=("PIPELINING", "CHUNKING", "BINARYMIME"))
        plain = await scene.peer(keywords=())
        client = scene.client()
        for peer in (able, plain):
            report = await client.deliver(peer.nexthop, content=content, encoding="binary")
            assert report.statuses[0].status == "sent"
        assert [message[2] for message in able.messages] == [content]
        assert b"Content-Transfer-Encoding: base64\r\n" in plain.messages[0][2]

    scene.run(work)


def test_large_content_arrives_whole(scene: Any) -> None:
    content = b"Subject: x\n\n" + b".line of some length\n" * 300_000

    async def work() -> None:
        peer = await scene.peer()

        report = await scene.client().deliver(peer.nexthop, content=content[:900_000] + b"\n")
        assert report.statuses[0].status == "sent"
        received = peer.messages[0][2][:-3].replace(b"\r\n.", b"\r\n").replace(b"\r\n", b"\n")
        assert received == content[:900_000] + b"\n"

    scene.run(work)


def test_probe_says_nothing_of_content(scene: Any) -> None:
    async def work() -> None:
        peer = await scene.peer({"RCPT b@x.example": REFUSED, "RCPT c@x.example": LATER})
        report = await scene.client().deliver(peer.nexthop, ["a@x.example", "b@x.example", "c@x.example"], probe=True)
        by_offset = sorted(report.statuses, key=lambda status: status.offset)
        assert [status.status for status in by_offset] == ["deliverable", "undeliverable", "deferred"]
        assert not any(command == "DATA" for command in peer.commands)

    scene.run(work)


def test_generic_addresses(scene: Any) -> None:
    async def work() -> None:
        peer = await scene.peer()
        client = scene.client(
            smtp_generic_maps="inline:{alice@local.lan=alice@example.com, @other.lan=team@example.com}"
        )
        content = (
            b"From: Alice <alice@local.lan>\nTo: bob@example.net, x@other.lan\nSubject: alice@local.lan\n"
            b"\nalice@local.lan\n"
        )
        await client.deliver(peer.nexthop, content=content, sender="alice@local.lan")
        sender, _, received = peer.messages[0]
        assert sender == "alice@example.com"
        assert b"From: Alice <alice@example.com>\r\n" in received
        assert b"To: bob@example.net, team@example.com\r\n" in received
        assert b"Subject: alice@local.lan\r\n\r\nalice@local.lan\r\n" in received

    scene.run(work)


def test_header_and_body_checks(scene: Any, tmp_path: Any) -> None:
    (tmp_path / "checks").write_text(
        "/^X-Secret:/ IGNORE\n/^Subject: (.*)/ REPLACE Subject: [out] $1\n/^To:/ PREPEND X-Seen: yes\n/^bad/ STRIP\n"
    )

    async def work() -> None:
        peer = await scene.peer()
        table = f"regexp:{tmp_path}/checks"
        client = scene.client(smtp_header_checks=table, smtp_body_checks=table)
        await client.deliver(peer.nexthop, content=b"X-Secret: a\n b\nTo: x@y\nSubject: hi\n\nbad line\ngood line\n")
        assert peer.messages[0][2] == b"X-Seen: yes\r\nTo: x@y\r\nSubject: [out] hi\r\n\r\ngood line\r\n.\r\n"

    scene.run(work)


def test_reply_filter(scene: Any, tmp_path: Any) -> None:
    (tmp_path / "replies").write_text("/^550 5.7.1 (.*)/ 450 4.7.1 $1\n")

    async def work() -> None:
        peer = await scene.peer({"RCPT": REFUSED})
        report = await scene.client(smtp_reply_filter=f"regexp:{tmp_path}/replies").deliver(peer.nexthop)
        assert (report.statuses[0].status, report.statuses[0].dsn) == ("deferred", "4.7.1")

    scene.run(work)


def test_discarded_keywords(scene: Any) -> None:
    async def work() -> None:
        peer = await scene.peer()
        client = scene.client(smtp_discard_ehlo_keyword_address_maps="inline:{ {127.0.0.1 = dsn, silent-discard} }")
        await client.deliver(peer.nexthop, [Recipient(address="a@b.example", notify=("NEVER",))])
        assert "RCPT TO:<a@b.example>" in peer.commands

    scene.run(work)


def test_xforward(scene: Any) -> None:
    async def work() -> None:
        peer = await scene.peer(keywords=("XFORWARD NAME ADDR PROTO HELO SOURCE",))
        client = scene.client(smtp_send_xforward_command="yes")
        origin = Origin(client_name="c.example", client_address="192.0.2.9", helo="he llo", protocol="ESMTP")
        await client.deliver(peer.nexthop, origin=origin)
        await client.deliver(peer.nexthop)
        assert peer.commands[1:3] == [
            "XFORWARD NAME=c.example ADDR=192.0.2.9",
            "XFORWARD PROTO=ESMTP HELO=he+20llo SOURCE=REMOTE",
        ]
        assert sum(command.startswith("XFORWARD") for command in peer.commands) == 2

    scene.run(work)


def test_rcptmax(scene: Any) -> None:
    async def work() -> None:
        peer = await scene.peer(keywords=("PIPELINING", "LIMITS RCPTMAX=2"))
        recipients = [f"u{n}@x.example" for n in range(5)]
        report = await scene.client().deliver(peer.nexthop, recipients)
        assert {status.status for status in report.statuses} == {"sent"}
        assert [len(message[1]) for message in peer.messages] == [2, 2, 1]
        assert peer.sessions == 1

    scene.run(work)


def test_lmtp_over_a_unix_socket(scene: Any) -> None:
    async def work() -> None:
        replies = (b"250 2.1.5 a ok", b"452 4.2.2 b full")
        peer = await scene.peer({"DOT": replies}, path="lmtp", lmtp=True)
        client = scene.client(lmtp=True)
        report = await client.deliver("unix:lmtp", ["a@x.example", "b@x.example"])
        by_offset = sorted(report.statuses, key=lambda status: status.offset)
        assert [(status.status, status.dsn) for status in by_offset] == [("sent", "2.1.5"), ("deferred", "4.2.2")]
        assert by_offset[0].relay == "me.example[lmtp]"
        assert peer.commands[0] == "LHLO me.example"

    scene.run(work)


def test_lmtp_over_inet(scene: Any) -> None:
    async def work() -> None:
        peer = await scene.peer(lmtp=True)
        client = scene.client(lmtp=True)
        for nexthop in (f"inet:127.0.0.1:{peer.port}", f"127.0.0.1:{peer.port}", f"inet:[127.0.0.1]:{peer.port}"):
            report = await client.deliver(nexthop, ["a@x.example", "b@x.example"])
            assert [status.status for status in report.statuses] == ["sent", "sent"]
        report = await client.deliver("unix:missing")
        assert report.statuses[0].text == "connect to me.example[missing]: No such file or directory"

    scene.run(work)


def test_a_lost_queue_file_waits(scene: Any, tmp_path: Any) -> None:
    async def work() -> None:
        client = scene.client()
        peer = await scene.peer()

        def truncate() -> bytes:
            for path in (tmp_path / "active").iterdir():
                path.write_bytes(path.read_bytes()[:200])
            return b"354 go on"

        large = b"x" * 70 + b"\n"
        peer.says["MAIL"] = lambda: truncate() and b"250 ok"
        report = await client.deliver(peer.nexthop, content=large * 10_000)
        assert (report.statuses[0].status, report.statuses[0].dsn) == ("deferred", "4.3.0")
        assert not peer.messages

    scene.run(work)
