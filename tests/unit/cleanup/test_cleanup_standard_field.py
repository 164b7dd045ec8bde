"""The short way past address rewriting: only for fields that the long way would leave as they are."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mail import addresslist, header
from tubepost.common.bus import rewriting

from tubepost.services.cleanup import headers
from tubepost.services.cleanup.protocol import Message

_PIECES = st.lists(
    st.sampled_from(
        ["a", "bc.d", "é", "@", "x@y", "a@b.example", ".", "<", ">", '"', "\\", " ", "\t", ",", ";", ":", "%", "!",
         "(c)", '"A. B"', "Ann", "\r", "undisclosed:", "[192.0.2.1]", "<a@b.example>"]
    ),
    max_size=8,
)  # fmt: skip


@given(_PIECES)
def test_what_goes_the_short_way_is_one_standard_address(pieces: list[str]) -> None:
    raw = f"To: {''.join(pieces)}\n".encode()
    if headers._STANDARD_FIELD.fullmatch(raw):
        boxes = addresslist.mailboxes(raw.partition(b":")[2].decode())
        assert len(boxes) == 1
        assert rewriting._STANDARD.fullmatch(boxes[0].address)


@pytest.mark.parametrize(
    ("value", "short"),
    [
        ("a@b.example", True),
        ("a.b+c@d.example", True),
        ("Ann Other <a@b.example>", True),
        ('"A. Other" <a@b.example>', True),
        ("<a@b.example>", True),
        ("a@b", False),
        ("a%c@b.example", False),
        ("c!a@b.example", False),
        ("a@b.example, c@d.example", False),
        ("a@b.example <c@d.example>", False),
        ("a@b.example.", False),
        ('"a b"@c.example', False),
        ('"a" <b', False),
        ("group: a@b.example;", False),
        ("a@b.example\n folded", False),
    ],
)
def test_which_fields_go_the_short_way(value: str, short: bool) -> None:
    assert bool(headers._STANDARD_FIELD.fullmatch(f"To: {value}\n".encode())) is short


def test_with_maps_every_field_goes_the_long_way(kit: Any) -> None:
    policy = kit.policy(sender_maps=(kit.address_map({"a@b.example": ["c@d.example"]}, "header_sender"),))
    deposit = kit.deposit(rewrite_context="local")
    message = Message("id", deposit)
    fields = header.scan(b"From: Ann <a@b.example>\nTo: a@b.example\n")
    out = kit.run(headers.clean_header(message, policy, fields, (0.0, 0, "UTC")))
    assert out[:2] == [b"From: Ann <c@d.example>\n", b"To: a@b.example\n"]


def test_masquerading_goes_the_long_way(kit: Any) -> None:
    policy = kit.policy(masquerade_domains=("b.example",))
    message = Message("id", kit.deposit(rewrite_context="local"))
    out = kit.run(headers.clean_header(message, policy, header.scan(b"From: a@x.b.example\n"), (0.0, 0, "UTC")))
    assert out[0] == b"From: a@b.example\n"


def test_hostile_fields_take_no_time() -> None:
    for raw in (b"To: " + b"a " * 100_000 + b"\n", b"To: " + b"a." * 100_000 + b"@\n", b'To: "' + b" " * 200_000):
        assert not headers._STANDARD_FIELD.fullmatch(raw)
