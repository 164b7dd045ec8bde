"""Judgements where the letter of Postfix's restriction language matters: what one list leaves to the next, who owns an
address, how what is judged is called.
"""

from dataclasses import replace

import pytest

from tubepost.common.net.certificates import PeerCertificate
from tubepost.common.net.tls import Agreed

from tests.fakes.judgement import World, evaluate
from tubepost.services.smtpd.restrictions import engine
from tubepost.services.smtpd.restrictions.evaluation import Client
from tubepost.services.smtpd.restrictions.language import compile_list
from tubepost.services.smtpd.restrictions.words import RECIPIENT
from tubepost.services.smtpd.restrictions.world import NameUnknown, NameUnsure

STRANGER = Client("203.0.113.9", name="c.example", reverse_name="r.example", name_status="ok", reverse_status="ok")
FAR = "x@far.example"
LOGINS = {
    "smtpd_sasl_auth_enable": "yes",
    "smtpd_sender_login_maps": "inline:{ { boss@here.example = alice } }",
}


def with_certificate(subject: str = "client 1") -> Client:
    certificate = PeerCertificate(subject, "our ca", "AA:BB", "CC:DD", (), True)
    return replace(STRANGER, agreed=Agreed("TLSv1.3", "AES", 256, False, certificate))


def test_a_doubt_of_the_relay_list_is_not_forgotten_in_the_recipient_list() -> None:
    """One judgement, two lists: what could not be asked in the first makes a refusal of the second temporary."""
    dns = {("A", "9.113.0.203.allow.example"): NameUnsure("no answer")}
    doubt = compile_list("permit_dnswl_client allow.example, reject_unauth_destination", RECIPIENT)
    refusal = compile_list("reject", RECIPIENT)
    lists = engine.Lists(relay=doubt, recipient=refusal)
    later = "450 4.7.1 <203.0.113.9>: Client host rejected: Service unavailable"
    assert evaluate(World({}, dns), check=lambda evaluation, _: engine.check_recipient(evaluation, lists))[0] == later
    world = World({"smtpd_relay_before_recipient_restrictions": "no"}, dns)
    refused, _ = evaluate(world, check=lambda evaluation, _: engine.check_recipient(evaluation, lists))
    assert refused == "554 5.7.1 <alice@here.example>: Recipient address rejected: Access denied"


@pytest.mark.parametrize("user", ["", "eve"])
def test_known_senders_are_for_their_owners_also_where_nobody_has_authenticated(user: str) -> None:
    """reject_known_sender_login_mismatch is reject_sender_login_mismatch for the addresses that the table has."""
    client = replace(STRANGER, user=user)
    reply, _ = evaluate(
        World(LOGINS), client=client, sender="boss@here.example", relay="reject_known_sender_login_mismatch"
    )
    why = "not owned by user eve" if user else "not logged in"
    assert reply == f"553 5.7.1 <boss@here.example>: Sender address rejected: {why}"
    free, _ = evaluate(World(LOGINS), client=client, sender="x@b.example", relay="reject_known_sender_login_mismatch")
    assert free == ""


@pytest.mark.parametrize("kind", ["", "known_", "unauthenticated_"])
def test_a_server_without_auth_asks_nobody_to_log_in(kind: str) -> None:
    """Port 25 beside a submission service: mail that comes back from a list has a sender of ours."""
    world = World({**LOGINS, "smtpd_sasl_auth_enable": "no"})
    name = f"reject_{kind}sender_login_mismatch"
    assert evaluate(world, client=STRANGER, sender="boss@here.example", relay=name)[0] == ""
    assert world.warnings == [f'restriction "{name}" is ignored: smtpd_sasl_auth_enable is off']


@pytest.mark.parametrize("space", ["\t", "  ", " \t"])
def test_any_white_space_divides_an_action_from_its_text(space: str) -> None:
    table = f"check_client_access inline:{{ {{ c.example = 550{space}5.7.1{space}go away }} }}"
    assert evaluate(World({}), relay=table)[0] == "550 5.7.1 <c.example[203.0.113.9]>: Client host rejected: go away"
    table = f"check_client_access inline:{{ {{ c.example = REJECT{space}go away }} }}"
    assert evaluate(World({}), relay=table)[0] == "554 5.7.1 <c.example[203.0.113.9]>: Client host rejected: go away"


def test_how_who_is_refused_is_called() -> None:
    rules = "check_ccert_access inline:{{AA:BB=REJECT}}"
    assert evaluate(World({}), relay=rules, client=with_certificate())[0] == (
        "554 5.7.1 <client 1>: Client certificate rejected: Access denied"
    )
    rules = "check_sasl_access inline:{{eve=REJECT}}"
    assert evaluate(World(LOGINS), relay=rules, client=replace(STRANGER, user="eve"))[0] == (
        "554 5.7.1 <eve>: SASL login name rejected: Access denied"
    )
    listed = {("A", "r.example.bad.example"): ["127.0.0.2"], ("TXT", "r.example.bad.example"): ["one", "two"]}
    reply, _ = evaluate(World({}, listed), relay="reject_rhsbl_reverse_client bad.example", client=STRANGER)
    assert reply == (
        "554 5.7.1 Service unavailable; Unverified Client host [r.example] blocked using bad.example; one / two"
    )


def test_ccert_access_looks_where_it_is_told() -> None:
    both = "inline:{{AA:BB=REJECT cert},{CC:DD=REJECT key}}"
    client = with_certificate()
    assert "cert" in evaluate(World({}), relay=f"check_ccert_access {both}", client=client)[0]
    for order, found in (("pubkey_fingerprint, cert_fingerprint", "key"), ("cert_fingerprint", "cert")):
        rules = f"check_ccert_access {{ {both}, {{ search_order = {order} }} }}"
        reply, _ = evaluate(World({}), relay=rules, client=client)
        assert reply == f"554 5.7.1 <client 1>: Client certificate rejected: {found}"
    wrong = f"check_ccert_access {{ {both}, {{ search_order = shoe_size }} }}, permit"
    assert evaluate(World({}), relay=wrong, client=client)[0].startswith("451 4.3.5")


def test_policy_services_are_told_names_that_cannot_be_taken_for_something_else() -> None:
    world = World({"mail_version": "7.8"})
    evaluate(world, relay="check_policy_service inet:x:1, permit", client=with_certificate("a b=c+\u00e4"))
    told = world.policies[0]
    assert told["ccert_subject"] == "a+20b+3Dc+2B+C3+A4"
    assert told["ccert_issuer"] == "our+20ca"
    assert told["mail_version"] == "7.8"


def test_a_domain_outside_ascii_is_looked_for_in_lists_as_dns_knows_it() -> None:
    sender = "a@b\u00fccher.example"
    listed = World({}, {("A", "xn--bcher-kva.example.bad.example"): ["127.0.0.2"]})
    reply, _ = evaluate(listed, sender=sender, relay="reject_rhsbl_sender bad.example")
    assert reply.startswith("554 5.7.1 Service unavailable; Sender address [")


def test_a_backup_that_cannot_be_found_in_dns_is_no_reason_for_a_refusal_for_good() -> None:
    exchangers = {("MX", "far.example"): [(10, "mx1.far.example"), (20, "mx2.far.example")]}
    rules = "permit_mx_backup, reject_unauth_destination"
    for trouble in (NameUnsure("no answer"), NameUnknown("no such name")):
        dns = {**exchangers, ("A", "mx1.far.example"): trouble, ("A", "mx2.far.example"): ["198.51.100.7"]}
        reply, _ = evaluate(World({}, dns), recipient=FAR, relay=rules)
        assert reply.startswith("450 4.4.4 ")
    # An exchanger that mydestination names is this host, whatever its address.
    primary = {("MX", "far.example"): [(10, "local.example"), (20, "mx.example")]}
    assert "Relay access denied" in evaluate(World({}, primary), recipient=FAR, relay=rules)[0]


def test_a_table_alone_in_a_class_is_what_its_list_makes_of_it() -> None:
    """The list decides, not what led to the class."""
    settings = {"smtpd_restriction_classes": "strict", "strict": "inline:{{alice@here.example=REJECT not her}}"}
    reply, _ = evaluate(World(settings), relay="check_client_access inline:{{c.example=strict}}")
    assert reply == "554 5.7.1 <alice@here.example>: Recipient address rejected: not her"


@pytest.mark.parametrize("name", ["[::1]", "[IPv6:1.2.3.4]", "[1.2.3.4", "[]", "[1.2.3]"])
@pytest.mark.parametrize("restriction", ["invalid", "non_fqdn", "unknown"])
def test_a_greeting_in_brackets_is_an_address_literal(name: str, restriction: str) -> None:
    """RFC 5321 4.1.3"""
    rules = f"reject_{restriction}_helo_hostname"
    reply, _ = evaluate(World({}), relay=rules, helo=name)
    assert reply == f"501 5.5.2 <{name}>: Helo command rejected: invalid ip address"
    for good in ("[IPv6:::1]", "[1.2.3.4]"):
        assert evaluate(World({}), relay=rules, helo=good)[0] == ""


@pytest.mark.parametrize("argument", ["\u00b2", "-1", "1s"])
def test_a_time_to_sleep_is_a_number(argument: str) -> None:
    assert evaluate(World({}), relay=f"sleep {argument}, permit")[0] == "451 4.3.5 Server configuration error"
