"""One real message through all the real processes: SMTP, cleanup, qmgr, virtual, a Maildir."""

from tests.fakes.instance import Instance


def test_a_message_goes_from_smtp_to_the_mailbox_and_leaves_no_trace_in_the_queue() -> None:
    with Instance() as instance:
        instance.send("alice@example.test", "Subject: hello\n\nfirst line\n.dot\n..two\n")
        instance.log.wait(r"qmgr\[\d+\]: \w+: removed")
        (message,) = instance.messages("alice")
        head, _, body = message.read_bytes().partition(b"\n\n")
        assert body == b"first line\n.dot\n..two\n"
        lines = head.decode().split("\n")
        assert lines[0] == "Return-Path: <a@example.org>"
        assert "Delivered-To: alice@example.test" in lines
        assert "Subject: hello" in lines
        for queue in ("incoming", "active", "deferred", "hold", "corrupt"):
            assert instance.queued(queue) == []
        assert instance.stop() == 0
        assert not instance.log.count(r"panic:|fatal:|Traceback")


def test_the_log_has_postfix_lines_in_postfix_order() -> None:
    with Instance() as instance:
        instance.send("bob@example.test")
        queue_id = instance.log.wait(r"qmgr\[\d+\]: (\w+): removed")[0][1]
        lines = [line.partition("]: ")[2] for line in instance.log.lines if f" {queue_id}: " in line]
        kinds = [line.partition(": ")[2].partition("=")[0].partition("<")[0] for line in lines]
        assert sorted(kinds) == sorted(["message-id", "client", "from", "to", "removed"]), lines
        assert kinds.index("from") < kinds.index("to") < kinds.index("removed")
        sent = next(line for line in lines if ": to=<" in line)
        assert "relay=virtual" in sent
        assert "dsn=2.0.0, status=sent (delivered to maildir)" in sent
