"""The restriction language against a fake world: relay control, deferral logic, actions, tables, DNS lists."""

from typing import Any

import pytest

from tubepost.common.wire.verify import Verdict
from tubepost.common.net.certificates import PeerCertificate
from tubepost.common.net.tls import Agreed
from tubepost.common.tables import Maps

from tests.fakes.judgement import KINDS, World, evaluate, run
from tubepost.services.smtpd.restrictions import engine, language
from tubepost.services.smtpd.restrictions.dnslists import address_query, matches_filter
from tubepost.services.smtpd.restrictions.evaluation import Client, Evaluation, HangUp
from tubepost.services.smtpd.restrictions.words import CLIENT, DATA, RECIPIENT, SENDER, fit_status
from tubepost.services.smtpd.restrictions.world import NameUnsure

DEFAULT = "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination"
INSIDE = Client("192.0.2.7", name="inside.example", name_status="ok")


@pytest.mark.parametrize("awaits", [False, True])
def test_relay_control(awaits: bool) -> None:
    world = World({})
    world.awaits = awaits
    assert evaluate(world, relay=DEFAULT)[0] == ""
    assert evaluate(world, relay=DEFAULT, recipient="x@relay.example")[0] == ""
    assert (
        evaluate(world, relay=DEFAULT, recipient="x@far.example")[0] == "454 4.7.1 <x@far.example>: Relay access denied"
    )
    assert evaluate(world, relay=DEFAULT, recipient="x@far.example", client=INSIDE)[0] == ""
    strict = "reject_unauth_destination"
    assert evaluate(world, relay=strict, recipient="x@far.example")[0].startswith("554 5.7.1 ")
    assert world.lines[-1] == (
        "NOQUEUE: reject: RCPT from c.example[203.0.113.9]: 554 5.7.1 <x@far.example>: Relay access denied; "
        "from=<a@b.example> to=<x@far.example> proto=SMTP helo=<client.example>"
    )


@pytest.mark.parametrize(
    "recipient", ['"x@far.example"@here.example', "x%far.example@here.example", "far.example!x@here.example"]
)
def test_routing_through_us_is_relaying(recipient: str) -> None:
    assert "Relay access denied" in evaluate(World({}), relay=DEFAULT, recipient=recipient)[0]


def test_a_rewrite_service_that_fails_defers_and_never_permits() -> None:
    world = World({})
    world.broken = True
    for text in (DEFAULT, "permit_auth_destination, reject"):
        assert evaluate(world, relay=text)[0] == "451 4.3.0 <alice@here.example>: Temporary lookup failure"


def test_a_table_that_fails_defers_and_never_permits() -> None:
    world = World({})
    reply, _ = evaluate(world, relay="check_client_access fail:x, permit")
    assert reply.startswith("451 4.3.5 ")
    world.virtual_mailboxes = Maps("fail:x", world.environment)
    assert evaluate(world, relay=DEFAULT)[0] == "451 4.3.0 <alice@here.example>: Temporary lookup failure"


def test_unknown_recipients() -> None:
    world = World({})
    assert evaluate(world, recipient="carol@here.example", relay=DEFAULT)[0] == (
        "550 5.1.1 <carol@here.example>: Recipient address rejected: User unknown in virtual mailbox table"
    )
    assert evaluate(world, recipient="carol@local.example", relay=DEFAULT)[0] == (
        "550 5.1.1 <carol@local.example>: Recipient address rejected: User unknown in local recipient table"
    )
    assert evaluate(world, recipient="bob@local.example", relay=DEFAULT)[0] == ""
    assert evaluate(world, recipient="Postmaster@local.example", relay=DEFAULT)[0] == ""
    assert evaluate(world, recipient="postmaster", relay="reject")[0] == ""
    assert evaluate(world, recipient="info@here.example", relay=DEFAULT)[0] == ""
    # smtpd_reject_unlisted_recipient=no does not ask.
    lax = World({"smtpd_reject_unlisted_recipient": "no"})
    assert evaluate(lax, recipient="carol@here.example", relay=DEFAULT)[0] == ""
    quiet = World({"show_user_unknown_table_name": "no"})
    assert evaluate(quiet, recipient="carol@here.example", relay=DEFAULT)[0].endswith("rejected: User unknown")
    senders = World({"smtpd_reject_unlisted_sender": "yes"})
    assert evaluate(senders, sender="carol@here.example", relay=DEFAULT)[0] == (
        "550 5.1.0 <carol@here.example>: Sender address rejected: User unknown in virtual mailbox table"
    )


def test_permit_in_one_list_does_not_open_the_next() -> None:
    world = World({})
    reply, _ = evaluate_lists(world, relay="permit", recipient="reject")
    assert reply == "554 5.7.1 <alice@here.example>: Recipient address rejected: Access denied"
    reply, _ = evaluate_lists(world, client="permit", relay="reject")
    assert reply.startswith("554 5.7.1")


def evaluate_lists(world: World, **lists: str) -> tuple[str, Evaluation]:
    evaluation = Evaluation(world, Client("203.0.113.9", name="c.example", name_status="ok"))
    evaluation.where = "RCPT"
    evaluation.sender, evaluation.recipient, evaluation.helo = "a@b.example", "alice@here.example", "client.example"
    compiled = {name: language.compile_list(text, KINDS.get(name, DATA)) for name, text in lists.items()}
    return run(engine.check_recipient(evaluation, engine.Lists(**compiled))), evaluation


def test_deferrals_held_back() -> None:
    world = World({})
    assert evaluate_lists(world, relay="defer_if_permit, permit")[0].startswith("450 4.7.0 ")
    assert evaluate_lists(world, relay="defer_if_permit, reject")[0].startswith("554 5.7.1 ")
    assert evaluate_lists(world, relay="defer_if_reject, reject")[0].startswith("450 4.7.0 ")
    assert evaluate_lists(world, relay="defer_if_reject, permit")[0] == ""
    # What an earlier command held back is still held at RCPT.
    assert evaluate_lists(world, client="defer_if_permit", relay="permit")[0].startswith("450 4.7.0 <c.example[203")
    assert evaluate_lists(world, helo="defer_if_permit", sender="permit", relay="permit")[0].startswith("450 4.7.0")


def test_warn_if_reject_covers_one_restriction() -> None:
    world = World({})
    assert evaluate_lists(world, relay="warn_if_reject reject, permit")[0] == ""
    assert world.lines[0].startswith("NOQUEUE: reject_warning: RCPT from c.example[203.0.113.9]: 554 5.7.1 ")
    assert evaluate_lists(world, relay="warn_if_reject reject, reject")[0].startswith("554")
    assert evaluate_lists(world, relay="warn_if_reject defer_if_permit, permit")[0] == ""


def test_classes_and_recursion() -> None:
    world = World({"smtpd_restriction_classes": "strict loop", "strict": "reject", "loop": "loop"})
    assert evaluate_lists(world, relay="strict")[0].startswith("554")
    assert evaluate_lists(world, relay="check_client_access inline:{{c.example = strict}}")[0].startswith("554")
    assert evaluate_lists(world, relay="loop")[0] == "451 4.3.5 Server configuration error"
    assert evaluate_lists(world, relay="no_such_thing")[0] == "451 4.3.5 Server configuration error"
    assert 'unknown smtpd restriction: "no_such_thing"' in world.warnings


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("OK", ""),
        ("12345", ""),
        ("DUNNO", "554 5.7.1 <alice@here.example>: Recipient address rejected: Access denied"),
        ("REJECT", "554 5.7.1 <c.example[203.0.113.9]>: Client host rejected: Access denied"),
        ("REJECT 5.1.1 go away", "554 5.0.0 <c.example[203.0.113.9]>: Client host rejected: go away"),
        ("DEFER later", "450 4.7.1 <c.example[203.0.113.9]>: Client host rejected: later"),
        ("553 no", "553 5.7.1 <c.example[203.0.113.9]>: Client host rejected: no"),
        ("421 4.3.2 no", "421 4.3.2 <c.example[203.0.113.9]>: Client host rejected: no"),
        ("DEFER_IF_REJECT busy", "450 4.7.1 <c.example[203.0.113.9]>: Client host rejected: busy"),
        ("permit_mynetworks, reject", "554 5.7.1 <c.example[203.0.113.9]>: Client host rejected: Access denied"),
        ("hash:/x", "451 4.3.5 Server configuration error"),
    ],
)
def test_actions(text: str, reply: str) -> None:
    world = World({})
    got, _ = evaluate_lists(world, relay="check_client_access static:{" + text + "}, reject")
    assert got == reply


def test_side_effects_of_actions() -> None:
    world = World({})

    def effects(action: str) -> Any:
        reply, evaluation = evaluate_lists(world, relay="check_recipient_access static:{" + action + "}, permit")
        assert reply == ""
        return evaluation.effects

    assert effects("HOLD").hold
    assert effects("FILTER smtp:[127.0.0.1]:10025").content_filter == "smtp:[127.0.0.1]:10025"
    assert effects("REDIRECT x@y.example").redirect == "x@y.example"
    assert effects("BCC x@y.example").bcc == ["x@y.example"]
    assert effects("PREPEND X-A: b").prepend == ["X-A: b"]
    assert effects("PREPEND nonsense").prepend == []
    assert effects("FILTER nonsense").content_filter == ""
    assert world.warnings[-1].endswith("requires transport:destination")
    reply, evaluation = evaluate_lists(world, relay="check_client_access static:DISCARD, reject")
    assert (reply, evaluation.effects.discard) == ("", True)
    with pytest.raises(HangUp):
        evaluate_lists(world, relay="check_client_access static:HANGUP")


def test_access_tables_are_searched_as_access_5_says() -> None:
    world = World({"recipient_delimiter": "+"})

    def hit(list_name: str, table: str) -> bool:
        return evaluate_lists(world, **{list_name: f"check_{table}, permit"})[0] != ""

    assert hit("relay", "client_access inline:{{example = REJECT}}")
    assert hit("relay", "client_access inline:{{203.0 = REJECT}}")
    assert not hit("relay", "client_access inline:{{203 = DUNNO}}")
    assert hit("relay", "sender_access inline:{{a@b.example = REJECT}}")
    assert hit("relay", "sender_access inline:{{b.example = REJECT}}")
    assert hit("relay", "sender_access inline:{{a@ = REJECT}}")
    assert hit("relay", "helo_access inline:{{client.example = REJECT}}")
    assert hit("relay", "recipient_access inline:{{here.example = REJECT}}")
    # type:table alone is short for the check of the list that it stands in.
    assert evaluate_lists(world, sender="inline:{{b.example = REJECT}}", relay="permit")[0].startswith("554")


def test_null_sender_has_its_own_key() -> None:
    world = World({})
    reply, _ = evaluate(world, sender="", relay="check_sender_access inline:{{<> = REJECT}}, permit")
    assert reply == "554 5.7.1 <>: Sender address rejected: Access denied"


def test_a_reverse_name_cannot_permit() -> None:
    world = World({})
    reply, _ = evaluate_lists(world, relay="check_reverse_client_hostname_access static:OK, permit")
    assert reply == "451 4.3.5 Server configuration error"


def test_helo_names() -> None:
    world = World(
        {},
        {
            ("A", "known.example"): ["192.0.2.1"],
            ("A", "slow.example"): NameUnsure("x"),
            ("MX", "slow.example"): NameUnsure("x"),
        },
    )

    def reply(helo: str, restriction: str) -> str:
        return evaluate(world, helo=helo, relay=f"{restriction}, permit")[0]

    assert reply("bad..name", "reject_invalid_helo_hostname").startswith(
        "501 5.5.2 <bad..name>: Helo command rejected: Invalid name"
    )
    assert reply("[192.0.2.1]", "reject_invalid_helo_hostname") == ""
    assert reply("[192.0.2.300]", "reject_invalid_helo_hostname").endswith("invalid ip address")
    assert reply("short", "reject_non_fqdn_helo_hostname").startswith(
        "504 5.5.2 <short>: Helo command rejected: need fully"
    )
    assert reply("known.example", "reject_unknown_helo_hostname") == ""
    assert reply("no.example", "reject_unknown_helo_hostname").startswith(
        "450 4.7.1 <no.example>: Helo command rejected: Host not"
    )
    assert reply("slow.example", "reject_unknown_helo_hostname").startswith("450 4.7.1")


def test_unknown_domains_and_null_mx() -> None:
    dns: dict[tuple[str, str], Any] = {
        ("MX", "null.example"): [(0, "")],
        ("A", "plain.example"): ["192.0.2.1"],
        ("MX", "slow.example"): NameUnsure("x"),
    }
    world = World({}, dns)

    def reply(sender: str) -> str:
        return evaluate(world, sender=sender, relay="reject_unknown_sender_domain, permit")[0]

    assert reply("a@null.example").startswith(
        "550 5.7.27 <a@null.example>: Sender address rejected: Domain null.example"
    )
    assert reply("a@plain.example") == ""
    assert reply("a@here.example") == ""
    assert reply("a@no.example") == "450 4.1.8 <a@no.example>: Sender address rejected: Domain not found"
    assert reply("a@slow.example").startswith("450 4.1.8")
    assert reply("") == ""


def test_dns_lists() -> None:
    dns: dict[tuple[str, str], Any] = {
        ("A", "9.113.0.203.bl.example"): ["127.0.0.4"],
        ("TXT", "9.113.0.203.bl.example"): ["spam source"],
        ("A", "b.example.rhs.example"): ["127.0.0.2"],
        ("A", "9.113.0.203.slow.example"): NameUnsure("x"),
        ("A", "9.113.0.203.wl.example"): ["127.0.0.2"],
    }
    world = World({}, dns)
    assert evaluate(world, relay="reject_rbl_client bl.example, permit")[0] == (
        "554 5.7.1 Service unavailable; Client host [203.0.113.9] blocked using bl.example; spam source"
    )
    assert evaluate(world, relay="reject_rbl_client bl.example=127.0.0.[2;5..9], permit")[0] == ""
    assert evaluate(world, relay="reject_rbl_client bl.example=127.0.0.[3..4], permit")[0] != ""
    assert "Sender address" in evaluate(world, relay="reject_rhsbl_sender rhs.example, permit")[0]
    assert evaluate(world, relay="reject_rbl_client slow.example, permit")[0] == ""
    # An allow list that does not answer turns a refusal into a deferral; one that answers permits no relaying.
    assert evaluate(world, relay="permit_dnswl_client slow.example, reject")[0].startswith("450 4.7.1")
    assert evaluate(world, relay="permit_dnswl_client wl.example, reject")[0] == ""
    assert evaluate(world, relay="permit_dnswl_client wl.example, reject", recipient="x@far.example")[0] != ""
    assert address_query("2001:db8::1", "l.example").startswith("1.0.0.0.0.0.0.0.")
    assert matches_filter("127.0.0.2", "127.0.0.2")
    with pytest.raises(ValueError):
        matches_filter("127.0.0", "127.0.0.2")


def test_server_tables() -> None:
    dns: dict[tuple[str, str], Any] = {
        ("MX", "b.example"): [(10, "mx.spam.example")],
        ("A", "mx.spam.example"): ["198.51.100.77"],
        ("NS", "example"): ["ns.spam.example"],
        ("A", "ns.spam.example"): ["198.51.100.78"],
    }
    world = World({}, dns)
    assert evaluate(world, relay="check_sender_mx_access inline:{{198.51.100 = REJECT}}, permit")[0].startswith("554")
    assert evaluate(world, relay="check_sender_mx_access inline:{{spam.example = REJECT}}, permit")[0].startswith("554")
    assert evaluate(world, relay="check_sender_ns_access inline:{{198.51.100.78 = REJECT}}, permit")[0].startswith(
        "554"
    )
    assert (
        evaluate(world, relay="check_sender_mx_access static:OK, reject")[0] == "451 4.3.5 Server configuration error"
    )


def test_mx_backup() -> None:
    dns: dict[tuple[str, str], Any] = {
        ("MX", "backed.example"): [(10, "primary.example"), (20, "mx.example")],
        ("MX", "mine.example"): [(10, "mx.example")],
        ("A", "primary.example"): ["203.0.113.80"],
        ("MX", "slow.example"): NameUnsure("x"),
    }
    text = "permit_mx_backup, reject"
    world = World({}, dns)
    assert evaluate(world, relay=text, recipient="a@backed.example")[0] == ""
    assert evaluate(world, relay=text, recipient="a@mine.example")[0].startswith("554")
    assert evaluate(world, relay=text, recipient="a@slow.example")[0].startswith("450 4.4.4")
    near = World({"permit_mx_backup_networks": "198.51.100.0/24"}, dns)
    assert evaluate(near, relay=text, recipient="a@backed.example")[0].startswith("554")


def test_policy_service() -> None:
    world = World({})
    world.policy_answer = ("DEFER_IF_PERMIT 4.2.0 greylisted", True)
    reply, _ = evaluate(world, relay="check_policy_service unix:private/grey, permit")
    assert reply == "450 4.2.0 <alice@here.example>: Recipient address rejected: greylisted"
    asked = world.policies[0]
    assert asked["request"] == "smtpd_access_policy"
    assert (asked["protocol_state"], asked["recipient"], asked["client_address"]) == (
        "RCPT",
        "alice@here.example",
        "203.0.113.9",
    )
    world.policy_answer = ("451 4.3.5 Server configuration problem", False)
    reply, _ = evaluate(world, relay="check_policy_service unix:private/grey, permit")
    assert reply.startswith("451 4.3.5")


def test_verified_addresses() -> None:
    world = World({"unverified_recipient_reject_code": "550"})
    text = "reject_unverified_recipient, permit"
    assert evaluate(world, relay=text)[0] == ""
    world.verdict = Verdict(status="bounce", reason="no such user")
    assert evaluate(world, relay=text)[0] == (
        "550 5.1.1 <alice@here.example>: Recipient address rejected: undeliverable address: no such user"
    )
    world.verdict = Verdict(status="todo")
    assert evaluate(world, relay=text)[0].startswith("450 4.1.1")
    assert len(world.slept) == 2
    world.verdict = None
    assert evaluate(world, relay=text)[0].endswith("address verification problem")


def test_client_names() -> None:
    world = World({})
    nameless = Client("203.0.113.9")
    text = "reject_unknown_client_hostname, permit"
    assert evaluate(world, relay=text)[0] == ""
    assert evaluate(world, relay=text, client=nameless)[0] == (
        "450 4.7.25 Client host rejected: cannot find your hostname, [203.0.113.9]"
    )
    forged = Client("203.0.113.9", reverse_name="x.example", name_status="other", reverse_status="ok")
    assert evaluate(world, relay="reject_unknown_reverse_client_hostname, permit", client=forged)[0] == ""
    assert evaluate(world, relay="reject_unknown_forward_client_hostname, permit", client=forged)[0] == ""
    assert evaluate(world, relay=text, client=forged)[0] != ""
    own = Client("198.51.100.1")
    assert evaluate(world, relay="permit_inet_interfaces, reject", client=own)[0] == ""


def test_soft_bounce_turns_every_refusal_into_a_deferral() -> None:
    assert evaluate_lists(World({"soft_bounce": "yes"}), relay="reject")[0].startswith("454 4.7.1 ")


def test_a_list_without_a_guard_is_noticed() -> None:
    def none(_name: str) -> str | None:
        return None

    assert language.guards_relay(DEFAULT, none)
    assert not language.guards_relay("permit_mynetworks, reject_rbl_client x", none)
    assert language.guards_relay("strict", {"strict": "reject"}.get)
    assert not language.guards_relay("loop", {"loop": "loop"}.get)


def test_status_fits_what_is_rejected() -> None:
    assert fit_status("5.1.1", SENDER) == "5.1.7"
    assert fit_status("5.1.9", SENDER) == fit_status("5.1.9", RECIPIENT) == "5.1.0"
    assert fit_status("5.1.7", RECIPIENT) == "5.1.3"
    assert fit_status("5.1.1", CLIENT) == "5.0.0"
    assert fit_status("4.7.1", SENDER) == "4.7.1"


# -- who has authenticated -----------------------------------------------------------------------------------------

FAR = "x@far.example"
LOGINS = {
    "smtpd_sasl_auth_enable": "yes",
    "smtpd_sender_login_maps": "inline:{{ boss@here.example = Alice, bob }, { @shared.example = team }}",
}


def somebody(user: str = "", agreed: Agreed | None = None) -> Client:
    return Client("203.0.113.9", name="c.example", name_status="ok", user=user, method="PLAIN", agreed=agreed)


def with_certificate(*, verified: bool) -> Agreed:
    return Agreed("TLSv1.3", "AES", 256, False, PeerCertificate("cn", "ca", "AA:BB", "CC:DD", (), verified))


def test_permit_sasl_authenticated() -> None:
    world = World({})
    assert evaluate(world, relay=DEFAULT, recipient=FAR, client=somebody("alice"))[0] == ""
    assert evaluate(world, relay=DEFAULT, recipient=FAR, client=somebody())[0].startswith("454")


@pytest.mark.parametrize(
    ("restriction", "sender", "user", "refused"),
    [
        ("reject_sender_login_mismatch", "boss@here.example", "alice", ""),
        ("reject_sender_login_mismatch", "boss@here.example", "BOB", ""),
        ("reject_sender_login_mismatch", "boss@here.example", "eve", "not owned by user eve"),
        ("reject_sender_login_mismatch", "boss@here.example", "", "not logged in"),
        ("reject_sender_login_mismatch", "other@here.example", "alice", "not owned by user alice"),
        ("reject_sender_login_mismatch", "other@here.example", "", ""),
        ("reject_sender_login_mismatch", "any@shared.example", "team", ""),
        ("reject_sender_login_mismatch", "", "eve", ""),
        ("reject_authenticated_sender_login_mismatch", "boss@here.example", "", ""),
        ("reject_authenticated_sender_login_mismatch", "other@here.example", "eve", "not owned by user eve"),
        ("reject_known_sender_login_mismatch", "other@here.example", "eve", ""),
        ("reject_known_sender_login_mismatch", "boss@here.example", "eve", "not owned by user eve"),
        ("reject_unauthenticated_sender_login_mismatch", "boss@here.example", "eve", ""),
        ("reject_unauthenticated_sender_login_mismatch", "boss@here.example", "", "not logged in"),
    ],
)
@pytest.mark.parametrize("awaits", [False, True])
def test_sender_logins(restriction: str, sender: str, user: str, refused: str, awaits: bool) -> None:
    world = World(LOGINS)
    world.awaits = awaits
    reply, _ = evaluate_sender(world, restriction, sender, user)
    if refused:
        assert reply == f"553 5.7.1 <{sender}>: Sender address rejected: {refused}"
    else:
        assert reply == ""


def evaluate_sender(world: World, restriction: str, sender: str, user: str) -> tuple[str, Evaluation]:
    """As the recipient restriction that people write it as."""
    return evaluate(world, sender=sender, client=somebody(user), relay=restriction)


def test_a_table_of_logins_that_fails_defers() -> None:
    world = World({**LOGINS, "smtpd_sender_login_maps": "fail:x"})
    assert evaluate_sender(world, "reject_sender_login_mismatch", "boss@here.example", "a")[0].startswith("451 4.3.0")


def test_client_certificates() -> None:
    by_print = World({"relay_clientcerts": "inline:{ { CC:DD = yes } }"})
    good, unverified = with_certificate(verified=True), with_certificate(verified=False)
    rules = "permit_tls_clientcerts, reject_unauth_destination"
    assert evaluate(by_print, relay=rules, recipient=FAR, client=somebody(agreed=unverified))[0] == ""
    assert evaluate(World({}), relay=rules, recipient=FAR, client=somebody(agreed=good))[0].startswith("554")
    rules = "permit_tls_all_clientcerts, reject_unauth_destination"
    assert evaluate(World({}), relay=rules, recipient=FAR, client=somebody(agreed=good))[0] == ""
    assert evaluate(World({}), relay=rules, recipient=FAR, client=somebody(agreed=unverified))[0].startswith("554")
    rules = "check_ccert_access inline:{{AA:BB=OK}}, reject"
    assert evaluate(World({}), relay=rules, recipient=FAR, client=somebody(agreed=good))[0] == ""
    rules = "check_sasl_access inline:{{eve=REJECT}}, permit"
    assert evaluate(World({}), relay=rules, recipient=FAR, client=somebody("eve"))[0].startswith("554 5.7.1")


def test_plaintext_sessions() -> None:
    rules = "reject_plaintext_session"
    assert evaluate(World({}), relay=rules, client=somebody())[0] == "450 4.7.1 Session encryption is required"
    assert evaluate(World({}), relay=rules, client=somebody(agreed=with_certificate(verified=False)))[0] == ""


def test_policy_services_are_told() -> None:
    world = World({})
    client = somebody("alice", with_certificate(verified=True))
    evaluate(world, relay="check_policy_service inet:x:1, permit", client=client)
    told = world.policies[0]
    assert (told["sasl_username"], told["sasl_method"]) == ("alice", "PLAIN")
    assert (told["encryption_protocol"], told["encryption_keysize"]) == ("TLSv1.3", "256")
    assert (told["ccert_subject"], told["ccert_fingerprint"]) == ("cn", "AA:BB")
