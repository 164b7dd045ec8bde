"""rewrite/1: address rewriting to canonical form, and resolving to transport, next hop and recipient."""

from typing import Literal

from tubepost.common.wire.base import Message

PROTOCOL = "rewrite/1"


class Rewrite(Message):
    """Bring an address into standard form: append myorigin, mydomain, swap percent … Answered by Rewritten."""

    context: Literal["local", "remote"]
    address: str


class Rewritten(Message):
    address: str


class Resolve(Message):
    """Where does mail for this address go? ``sender`` matters for sender_dependent_*. Answered by Resolved."""

    sender: str
    address: str
    probe: bool = False
    """For a probe of address verification: the address_verify_… parameters count."""


class Resolved(Message):
    """``address_class`` as in ADDRESS_CLASS_README."""

    transport: str
    nexthop: str
    recipient: str
    address_class: Literal["local", "virtual_alias", "virtual_mailbox", "relay", "default"]
    error: Literal["", "bad_syntax", "table_failure"] = ""
    reason: str = ""
    routed: bool = False
    """The local part holds ``@ % !``: the next host might send it on, so relaying it needs trust in the client."""


class Batch(Message):
    """Several questions at once, answered in order by Answers: one round trip for one message."""

    rewrites: tuple[Rewrite, ...] = ()
    resolves: tuple[Resolve, ...] = ()


class Answers(Message):
    rewrites: tuple[Rewritten, ...] = ()
    resolves: tuple[Resolved, ...] = ()
