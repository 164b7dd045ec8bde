"""Is this system an open relay? Each way to write a recipient elsewhere that relay testers know, from each sender.

The client is none of ours (it is outside of mynetworks and has not authenticated, on the port for submission neither).
Every recipient is refused, nothing gets into the queue, and nothing out of it: the relayhost is a sink that would have
it. What aliases send outward goes where the alias says, whatever stands in the address that was sent to.
"""

import base64
import smtplib
from collections.abc import Iterator

import pytest

from tests.fakes.instance import Instance
from tests.fakes.sink import Sink
from tests.fakes.tls import trusting

SENDERS = (
    "<sender@far.example>", "<>", "<alice@example.test>", "<nobody@example.test>", "<root@[127.0.0.1]>",
    "<postmaster>", "<victim@relay.example>",
)  # fmt: skip
# Our own: of a mailbox domain, the host itself, a relay domain, an alias domain, and its address.
OWN = ("example.test", "mail.example.test", "relay.example", "va.example", "[127.0.0.1]", "localhost")
ROUTED = (
    "user%far.example@{own}", "user%far.example%{own}@{own}", "far.example!user@{own}", "a!far.example!user@{own}",
    '"user@far.example"@{own}', '"user%far.example"@{own}', '"far.example!user"@{own}', "user@far.example@{own}",
    "@{own}:user@far.example", "@far.example:user@far.example", "@{own},@far.example:user@far.example",
    '"\\"user@far.example\\""@{own}', '"\\"user\\"@far.example"@{own}', '"user"%far.example@{own}',
    "user\\@far.example@{own}", '"user\\@far.example"@{own}', "user%far.example%far.example@{own}",
    "user@far.example%{own}", "{own}!user@far.example", "{own}!far.example!user", "user%[192.0.2.7]@{own}",
    '"user@[192.0.2.7]"@{own}', "far.example!user%far.example@{own}", "@{own}:user%far.example@{own}",
    "(c)user%far.example(c)@{own}", '"user" "@far.example"@{own}', "user+x%far.example@{own}", "%far.example@{own}",
    '"@far.example"@{own}', "user%FAR.EXAMPLE@{own}", "user%far.example.@{own}", "::user@far.example@{own}",
)  # fmt: skip
PLAIN = (
    "user@far.example", "user@FAR.example", "user@far.example.", "user@sub.far.example", '"user"@far.example',
    '"us er"@far.example', "user@[192.0.2.7]", "user@[IPv6:2001:db8::7]", "user@[far.example]",
    "user@[x-tag:far.example]",
    '"user@far.example"', '"user%far.example"', '"far.example!user"', "user%far.example", "far.example!user",
    "user@xn--bcher-kva.example", "user@b\u00fccher.example", "user@far\uff0eexample", "user@far\u3002example",
    "user@far.example@far.example", "user@example.test@far.example", "user@example.test.far.example",
    "user@notexample.test", "user@sub.example.test", "user@sub.sub.relay.example.far.example", "user@relay.example.",
    "user@relay.example.far.example", "user@xrelay.example", "user@192.0.2.7", "user@3221226007", "user@0x7f000001",
    "user@[::ffff:192.0.2.7]", "user@[IPv6:::ffff:192.0.2.7]", "user@[127.0.0.2]", "user@[0.0.0.0]", "user@far",
    "user@" + "a." * 100 + "far.example", "u" * 200 + "@far.example", "user@far.example#example.test", "@far.example",
    "user@far.example\\@example.test", "user@far_example.example", "user@*.example",
    "user@example.test;user@far.example",
    "user@example.test,user@far.example", "user@example.test user@far.example", "abuse@far.example",
    "postmaster@far.example", "user@tsalt.far.example", "user@localhost.far.example", "user@local.host",
)  # fmt: skip
ALLOWED_NOWHERE = [*PLAIN, *(form.format(own=own) for own in OWN for form in ROUTED)]


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as made:
        yield made


@pytest.fixture(scope="module")
def instance(sink: Sink) -> Iterator[Instance]:
    made = Instance(
        services=("submission",),
        main={
            "mynetworks": "192.0.2.0/24",
            "relay_domains": "relay.example",
            "relay_recipient_maps": "inline:{ known@relay.example=x }",
            "virtual_alias_domains": "va.example",
            "relayhost": f"[127.0.0.1]:{sink.port}",
            "smtp_tls_security_level": "none",
            "smtpd_error_sleep_time": "0",
            "smtpd_hard_error_limit": "100000",
            "smtpd_junk_command_limit": "100000",
            "smtpd_client_connection_count_limit": "0",
            "disable_vrfy_command": "no",
            "smtpd_tls_auth_only": "no",
            "smtpd_sasl_auth_enable": "yes",
            "auth_failure_delay": "0",
            "propagate_unmatched_extensions": "canonical, virtual, alias, forward, include",
        },
    )
    made.write_table(
        "virtual",
        "out@example.test box@outside.example\nout@va.example box@outside.example\nin@va.example alice@example.test\n",
    )
    (made.conf / "aliases").write_text("postmaster: alice@example.test\nstaff: box@outside.example\n")
    made.rebuild_aliases()
    with made:
        yield made


def nothing_came_in(instance: Instance, sink: Sink, start: int) -> None:
    assert [queue for queue in ("maildrop", "incoming", "active", "deferred", "hold") if instance.queued(queue)] == []
    assert not [line for line in instance.log.lines[start:] if ": from=<" in line and "qmgr" in line]
    assert {recipient.rpartition("@")[2] for found in sink.messages for recipient in found[1]} <= {"outside.example"}


def refused(client: smtplib.SMTP, recipient: str) -> tuple[int, bytes]:
    code, text = client.docmd(f"RCPT TO:{recipient}")
    return code, text


def submission(instance: Instance) -> smtplib.SMTP:
    """Within TLS, without AUTH."""
    client = smtplib.SMTP("127.0.0.1", instance.ports["submission"], timeout=20)
    client.starttls(context=trusting())
    return client


@pytest.mark.parametrize(
    ("port", "sender"),
    [*(("smtp", sender) for sender in SENDERS), *(("submission", sender) for sender in SENDERS[:3])],
)
def test_every_way_elsewhere_is_refused(instance: Instance, sink: Sink, port: str, sender: str) -> None:
    start = len(instance.log.lines)
    taken = []
    with instance.smtp() if port == "smtp" else submission(instance) as client:
        client.ehlo("client.example")
        for address in ALLOWED_NOWHERE:
            for recipient in (f"<{address}>", address):
                # It goes back to ASCII with each RSET.
                client.command_encoding = "utf-8"
                assert client.docmd(f"MAIL FROM:{sender} SMTPUTF8")[0] == 250
                code, text = refused(client, recipient)
                if not 500 <= code <= 599:
                    taken.append((recipient, code, text))
                # RFC 5321 3.3: without a recipient that was taken there is no content.
                assert client.docmd("DATA")[0] in (503, 554)
                assert client.rset()[0] == 250
    assert not taken, taken
    assert len(ALLOWED_NOWHERE) == 243
    nothing_came_in(instance, sink, start)


def test_submission_is_for_who_has_authenticated(instance: Instance, sink: Sink) -> None:
    """Not for our own recipients either; and it is AUTH alone that opens the way, to where it is refused before."""
    start = len(instance.log.lines)
    with submission(instance) as client:
        client.ehlo("client.example")
        for sender in SENDERS:
            assert client.docmd(f"MAIL FROM:{sender}")[0] == 250
            for address in ("alice@example.test", "known@relay.example", "in@va.example", "user@outside.example"):
                assert 500 <= refused(client, f"<{address}>")[0] <= 599
            client.rset()
        nothing_came_in(instance, sink, start)
        client.login("alice@example.test", instance.credentials["alice@example.test"])
        assert client.docmd("MAIL FROM:<alice@example.test>")[0] == 250
        assert refused(client, "<user@outside.example>")[0] == 250
        client.rset()


@pytest.mark.parametrize(
    "before", ["failed AUTH", "EXPN", "VRFY", "ETRN", "TURN", "XCLIENT", "XFORWARD", "HELO of ours"]
)
def test_nothing_opens_the_way(instance: Instance, sink: Sink, before: str) -> None:
    start = len(instance.log.lines)
    with instance.smtp() as client:
        client.ehlo("client.example")
        wrong = base64.b64encode(b"\0alice@example.test\0wrong").decode()
        commands = {
            "failed AUTH": [f"AUTH PLAIN {wrong}", "AUTH PLAIN =", "AUTH EXTERNAL =", "AUTH ANONYMOUS eA=="],
            "EXPN": ["EXPN user@far.example", "EXPN staff"],
            "VRFY": ["VRFY user@far.example", "VRFY <user%far.example@example.test>"],
            "ETRN": ["ETRN far.example", "ETRN @far.example", "ETRN #far.example"],
            "TURN": ["TURN"],
            "XCLIENT": ["XCLIENT ADDR=192.0.2.1 LOGIN=alice@example.test", "XCLIENT NAME=localhost"],
            "XFORWARD": ["XFORWARD ADDR=192.0.2.1 PROTO=ESMTP"],
            "HELO of ours": ["EHLO mail.example.test", "EHLO [192.0.2.1]", "HELO localhost"],
        }[before]
        for command in commands:
            code, text = client.docmd(command)
            assert code >= 400 or before == "HELO of ours", (command, code, text)
        for sender in SENDERS:
            assert client.docmd(f"MAIL FROM:{sender}")[0] == 250
            assert refused(client, "<user@far.example>")[0] == 554
            assert refused(client, "<user%far.example@example.test>")[0] == 554
            client.rset()
        # RFC 4954 5: who is said to have submitted it gives no right.
        code, _ = client.docmd("MAIL FROM:<alice@example.test> AUTH=alice@example.test")
        assert code in (250, 555)
        assert refused(client, "<user@far.example>")[0] in (503, 554)
    nothing_came_in(instance, sink, start)


@pytest.mark.parametrize(
    "address",
    [
        "out+x@example.test", "out+far.example@example.test", "out+user=far.example@example.test",
        '"out+user far.example"@example.test', "staff+x@mail.example.test", "staff+user=far.example@mail.example.test",
        "out+x@va.example", "out@va.example", "staff@mail.example.test",
    ],
)  # fmt: skip
def test_an_alias_goes_where_it_says(instance: Instance, sink: Sink, address: str) -> None:
    """Outward, for the administrator wants that; the domain, and the mailbox but for its extension, are the alias's."""
    before, start = len(sink.messages), len(instance.log.lines)
    with instance.smtp() as client:
        client.ehlo("client.example")
        client.mail("sender@far.example")
        code, text = refused(client, f"<{address}>")
        assert code == 250, text
        client.data(b"Subject: x\r\n\r\nx\r\n")
    _, recipients, _ = sink.wait(before + 1)[before]
    (recipient,) = recipients
    assert recipient.endswith("@outside.example"), recipient
    assert recipient.strip('"').startswith("box"), recipient
    # local forwards an alias as another message: both are to be gone before the next test looks.
    messages = 2 if "staff" in address else 1
    instance.log.wait(r"qmgr\[\d+\]: \S+: removed", start=start, count=messages)


@pytest.mark.parametrize(
    "address",
    [
        "out+user%far.example@example.test", "out+user@far.example@example.test", '"out+user@far.example"@example.test',
        "far.example!out@example.test", "out+far.example!user@example.test", '"out+\\"user@far.example\\""@va.example',
        "out+x%far.example@va.example", '"staff+user@far.example"@mail.example.test',
        "staff%far.example@mail.example.test",
        "@example.test:out+x@far.example",
    ],
)  # fmt: skip
def test_an_alias_gives_no_way_to_write_another_place(instance: Instance, sink: Sink, address: str) -> None:
    start = len(instance.log.lines)
    with instance.smtp() as client:
        client.ehlo("client.example")
        client.mail("sender@far.example")
        code, text = refused(client, f"<{address}>")
        assert 500 <= code <= 599, text
    nothing_came_in(instance, sink, start)


def test_the_client_would_be_served_otherwise(instance: Instance) -> None:
    """So that none of the refusals above came of something else."""
    before = instance.messages()
    with instance.smtp() as client:
        client.sendmail("sender@far.example", ["alice@example.test", "in@va.example"], b"Subject: x\r\n\r\nx\r\n")
    instance.log.wait(r"to=<alice@example\.test>.* status=sent", count=1)
    assert len(instance.messages()) > len(before)
