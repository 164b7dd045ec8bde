"""Envelope: canonical maps, masquerading, aliases with their limits, duplicates, copies, RFC 3461."""

from typing import Any

import pytest

from tubepost.common.wire.envelope import Envelope, Recipient

from tubepost.services.cleanup import mapping, virtual
from tubepost.services.cleanup.envelope import clean_envelope, finish_envelope
from tubepost.services.cleanup.policy import Policy
from tubepost.services.cleanup.protocol import Fault, Message


def clean(kit: Any, policy: Policy, *recipients: Recipient, **changes: Any) -> Message:
    message: Message = kit.message(recipients=recipients, **changes)

    async def work() -> None:
        out = await clean_envelope(message, policy, list(recipients))
        await finish_envelope(message, policy, out)

    kit.run(work())
    return message


def addresses(message: Message) -> list[str]:
    return [recipient.address for recipient in message.recipients]


def test_unqualified_addresses_are_local(kit: Any) -> None:
    message = clean(
        kit, kit.policy(), Recipient(address="joe"), envelope=Envelope(sender="ann", arrival_time=1, smtputf8=False)
    )
    assert message.sender == "ann@local.example"
    assert message.recipients == [Recipient(address="joe@local.example", original="joe")]


def test_an_address_that_does_not_change_has_no_original(kit: Any) -> None:
    given = Recipient(address="r@b.example", orcpt="rfc822;x", notify=("DELAY",))
    assert clean(kit, kit.policy(), given).recipients == [given]


def test_null_sender_and_its_disguise(kit: Any) -> None:
    for sender in ("", "MAILER-DAEMON@local.example", "mailer-daemon@local.example"):
        envelope = Envelope(sender=sender, arrival_time=1)
        assert clean(kit, kit.policy(), Recipient(address="r@b.example"), envelope=envelope).sender == ""
    envelope = Envelope(sender="mailer-daemon@other.example", arrival_time=1)
    assert clean(kit, kit.policy(), envelope=envelope).sender == "mailer-daemon@other.example"


def test_empty_recipient_address(kit: Any) -> None:
    assert addresses(clean(kit, kit.policy(), Recipient(address=""))) == ["MAILER-DAEMON@local.example"]


def test_canonical_maps_apply_by_class(kit: Any) -> None:
    table = {"s@a.example": ["sender"], "r@b.example": ["recipient@c.example"]}
    sender_only = kit.address_map(table, "envelope_sender")
    policy = kit.policy(sender_maps=(sender_only,), recipient_maps=(sender_only,))
    message = clean(kit, policy, Recipient(address="r@b.example"))
    assert message.sender == "sender@local.example"
    assert addresses(message) == ["r@b.example"]
    both = kit.address_map(table, "envelope_sender", "envelope_recipient")
    assert addresses(clean(kit, kit.policy(recipient_maps=(both,)), Recipient(address="r@b.example"))) == [
        "recipient@c.example"
    ]


def test_without_aliases_no_map_is_asked(kit: Any) -> None:
    table = kit.table({"r@b.example": ["x@y.example"]})
    policy = kit.policy(virtual_alias_maps=table, recipient_maps=(kit.address_map({}, "envelope_recipient"),))
    assert addresses(clean(kit, policy, Recipient(address="r@b.example"), aliases=False)) == ["r@b.example"]


def test_canonical_circle_ends(kit: Any) -> None:
    circle = kit.address_map({"a@x.example": ["b@x.example"], "b@x.example": ["a@x.example"]}, "envelope_recipient")
    message = clean(kit, kit.policy(recipient_maps=(circle,)), Recipient(address="a@x.example"))
    assert len(message.recipients) == 1
    assert any("unreasonable canonical_maps map nesting" in text for _, text in message.lines)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("u@host.example.com", "u@example.com"),
        ("u@a.b.example.com", "u@example.com"),
        ("u@example.com", "u@example.com"),
        ("u@keep.example.com", "u@keep.example.com"),
        ("u@x.keep.example.com", "u@x.keep.example.com"),
        ("root@host.example.com", "root@host.example.com"),
        ("u@notexample.com", "u@notexample.com"),
        ("u", "u"),
        ("u@HOST.EXAMPLE.COM", "u@example.com"),
    ],
)
def test_masquerading(kit: Any, address: str, expected: str) -> None:
    async def exceptions(local: str) -> bool:
        return local == "root"

    policy = kit.policy(masquerade_domains=("!keep.example.com", "example.com"), masquerade_exceptions=exceptions)
    assert kit.run(mapping.masquerade(policy, address)) == expected


def test_envelope_recipients_are_not_masqueraded_by_default(kit: Any) -> None:
    message = clean(kit, kit.policy(masquerade_domains=("example",)), Recipient(address="r@b.example"))
    assert message.sender == "s@example"
    assert addresses(message) == ["r@b.example"]


def test_aliases_expand_and_duplicates_go(kit: Any) -> None:
    table = {
        "list@x.example": ["a@x.example", "sub@x.example", "A@x.example"],
        "sub@x.example": ["b@x.example", "local"],
        "self@x.example": ["self@x.example", "copy@x.example"],
    }
    policy = kit.policy(virtual_alias_maps=kit.table(table))
    message = clean(kit, policy, Recipient(address="list@x.example"), Recipient(address="self@x.example"))
    assert addresses(message) == [
        "a@x.example", "b@x.example", "local@local.example", "self@x.example", "copy@x.example",
    ]  # fmt: skip
    assert message.recipients[0].original == "list@x.example"
    assert message.recipients[3].original == ""


def test_originals_tell_recipients_apart_when_kept(kit: Any) -> None:
    table = kit.table({"a@x.example": ["z@x.example"], "b@x.example": ["z@x.example"]})
    given = (Recipient(address="a@x.example"), Recipient(address="b@x.example"))
    assert len(clean(kit, kit.policy(virtual_alias_maps=table), *given).recipients) == 2
    message = clean(kit, kit.policy(virtual_alias_maps=table, enable_original_recipient=False), *given)
    assert message.recipients == [Recipient(address="z@x.example")]


def test_an_alias_is_expanded_wherever_it_comes_up(kit: Any) -> None:
    # Two ways to the same alias: nobody is to get mail under its name.
    table = {
        "list@x.example": ["a@x.example", "b@x.example"],
        "a@x.example": ["shared@x.example"],
        "b@x.example": ["shared@x.example", "self@x.example"],
        "shared@x.example": ["y@x.example", "self@x.example"],
        "self@x.example": ["self@x.example", "z@x.example"],
    }
    policy = kit.policy(virtual_alias_maps=kit.table(table))
    message = clean(kit, policy, Recipient(address="list@x.example"))
    assert sorted(addresses(message)) == ["self@x.example", "y@x.example", "z@x.example"]


def test_an_alias_circle_is_a_fault_of_the_configuration(kit: Any) -> None:
    # Postfix cleanup_map1n.c: only what leads to itself at once ends there; a longer way back never ends.
    table = kit.table({"a@x.example": ["b@x.example"], "b@x.example": ["a@x.example", "c@x.example"]})
    message = clean(kit, kit.policy(virtual_alias_maps=table), Recipient(address="a@x.example"))
    refused = message.refusal()
    assert refused is not None and (refused.code, refused.dsn) == (451, "4.6.0")
    assert any("unreasonable virtual_alias_maps map nesting for a@x.example" in text for _, text in message.lines)


@pytest.mark.parametrize("limit", ["expansion", "recursion", "length"])
def test_alias_limits_defer(kit: Any, limit: str) -> None:
    async def expand(address: str) -> list[str] | None:
        if limit == "expansion":
            return [f"{address[:100]}{number}@x.example" for number in range(20)] if len(address) < 90 else None
        return ["a" + address]

    policy = kit.policy(
        virtual_alias_maps=expand,
        virtual_alias_expansion_limit=50,
        virtual_alias_recursion_limit=10 if limit == "recursion" else 10_000,
        virtual_alias_address_length_limit=100 if limit == "length" else 100_000,
    )
    message = clean(kit, policy, Recipient(address="r@x.example"))
    assert message.recipients == []
    assert message.faults == {Fault.DEFER}
    refused = message.refusal()
    assert refused is not None
    assert (refused.code, refused.dsn, refused.reason) == (451, "4.6.0", "Alias expansion error")


@pytest.mark.parametrize("limit", [0, 5000])
def test_aliases_do_not_multiply_without_end(kit: Any, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    # Postfix: the queue file, recipients and all, is no larger than message_size_limit.
    monkeypatch.setattr(virtual, "RECIPIENTS_LIMIT", 20_000)
    asked: list[str] = []

    async def expand(address: str) -> list[str] | None:
        asked.append(address)
        return [f"{number}.{address}" for number in range(100)] if address.startswith("all+") else None

    policy = kit.policy(virtual_alias_maps=expand, message_size_limit=limit)
    message = clean(kit, policy, *(Recipient(address=f"all+{number}@b.example") for number in range(1000)))
    refused = message.refusal()
    assert refused is not None and (refused.code, refused.dsn) == (552, "5.3.4")
    assert len(message.recipients) < 600 and len(asked) < 1000


def test_notify_success_is_answered_by_expansion_to_several(kit: Any) -> None:
    policy = kit.policy(
        virtual_alias_maps=kit.table({"l@x.example": ["a@x.example", "b@x.example"], "o@x.example": ["c@x.example"]})
    )
    both = Recipient(address="l@x.example", orcpt="rfc822;l@x", notify=("SUCCESS", "DELAY"))
    message = clean(kit, policy, both)
    assert [recipient.notify for recipient in message.recipients] == [("DELAY",), ("DELAY",)]
    assert {recipient.orcpt for recipient in message.recipients} == {"rfc822;l@x"}
    assert [recipient.address for recipient in message.expanded] == ["l@x.example"]
    only = clean(kit, policy, Recipient(address="l@x.example", notify=("SUCCESS",)))
    assert [recipient.notify for recipient in only.recipients] == [("NEVER",), ("NEVER",)]
    single = clean(kit, policy, Recipient(address="o@x.example", notify=("SUCCESS",)))
    assert (single.recipients[0].notify, single.expanded) == (("SUCCESS",), [])


def test_a_probe_of_an_alias_of_several_asks_nobody(kit: Any) -> None:
    table = {"l@x.example": ["a@x.example", "b@x.example"], "one@x.example": ["a@x.example"]}
    policy = kit.policy(virtual_alias_maps=kit.table(table))
    several = clean(kit, policy, Recipient(address="l@x.example"), source="verify")
    assert several.discard and several.recipients == [] and several.refusal() is None
    one = clean(kit, policy, Recipient(address="one@x.example"), source="verify")
    assert not one.discard and addresses(one) == ["a@x.example"]


def test_copies(kit: Any) -> None:
    policy = kit.policy(
        always_bcc="archive",
        sender_bcc_maps=kit.table({"s@a.example": ["boss@a.example"]}),
        recipient_bcc_maps=kit.table({"r@b.example": ["audit@b.example"]}),
    )
    message = clean(kit, policy, Recipient(address="r@b.example"))
    assert addresses(message) == ["boss@a.example", "r@b.example", "audit@b.example", "archive@local.example"]
    assert [recipient.notify for recipient in message.recipients] == [("NEVER",), (), ("NEVER",), ("NEVER",)]
    assert addresses(clean(kit, policy, Recipient(address="r@b.example"), bcc=False)) == ["r@b.example"]
    assert clean(kit, kit.policy(always_bcc="archive")).recipients == []


def test_utf8_is_noticed_where_it_is_looked_for(kit: Any) -> None:
    policy = kit.policy(smtputf8_autodetect=frozenset({"pickup"}))
    assert clean(kit, policy, Recipient(address="jörg@b.example"), source="pickup").smtputf8
    assert not clean(kit, policy, Recipient(address="jörg@b.example"), source="smtpd").smtputf8
    assert not clean(kit, policy, Recipient(address="r@b.example"), source="pickup").smtputf8


def test_duplicate_filter_is_bounded(kit: Any) -> None:
    message = kit.message()
    out = virtual.Recipients(message, kit.policy(duplicate_filter_limit=2))

    async def work() -> None:
        for name in ("a", "b", "c", "a", "c"):
            await out.add(Recipient(address=name), f"{name}@x.example")

    kit.run(work())
    assert addresses(message) == ["a@x.example", "b@x.example", "c@x.example", "c@x.example"]


@pytest.mark.parametrize("end", ["\n", "\r", "\0"])
@pytest.mark.parametrize("place", ["sender", "envid", "fullname", "helo", "client_name", "address", "orcpt"])
def test_a_hostile_caller_adds_no_line_by_the_envelope(kit: Any, place: str, end: str) -> None:
    text = f"a{end}X: b@b.example"
    envelope: dict[str, Any] = {"sender": "s@a.example", "arrival_time": 1795544452.0}
    recipient: dict[str, Any] = {"address": "r@b.example"}
    if place in recipient or place == "orcpt":
        recipient[place] = text
    elif place in ("helo", "client_name"):
        envelope["origin"] = {place: text}
    else:
        envelope[place] = text
    deposit = kit.deposit(envelope=Envelope.model_validate(envelope), recipients=(Recipient(**recipient),))
    refusal = Message("4QID", deposit).refusal()
    assert refusal is not None
    assert (refusal.code, refusal.dsn) == (550, "5.1.7")
