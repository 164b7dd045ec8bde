"""Headers in UTF-8 for clients that know ASCII only."""

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.mail import encode, surrogate


def _field(text: str) -> str:
    made = surrogate.field(text.encode() + b"\n")
    assert made.isascii() and made.endswith(b"\n") and b"\n\n" not in made
    return made.decode()[:-1]


@pytest.mark.parametrize(
    ("given_", "made"),
    [
        ("From: Jörg <joerg@example.test>", "From: =?utf-8?Q?J=C3=B6rg?= <joerg@example.test>"),
        ("From: jörg@example.test", "From: =?utf-8?Q?j=C3=B6rg=40example=2Etest?= <" + surrogate.UNANSWERABLE + ">"),
        ("To: a@b.test, é@b.test", "To: a@b.test,\n =?utf-8?Q?=C3=A9=40b=2Etest?= <" + surrogate.UNANSWERABLE + ">"),
        ("Cc: x@bücher.example", "Cc: x@xn--bcher-kva.example"),
        ("To: Häuser: a@b.test, c@d.test;, e@f.test", "To: =?utf-8?Q?H=C3=A4user?=: a@b.test,\n c@d.test;,\n e@f.test"),
        ('To: "ä, b" <"c d"@e.test>', 'To: =?utf-8?Q?=C3=A4=2C_b?= <"c d"@e.test>'),
        ("Subject: Hello Grüße an alle", "Subject: Hello =?utf-8?Q?Gr=C3=BC=C3=9Fe?= an alle"),
        ("Subject: Grüße für dich", "Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe_f=C3=BCr?= dich"),
        (
            'Content-Type: application/pdf; name="Übung 1.pdf"',
            "Content-Type: application/pdf; name*=utf-8''%C3%9Cbung%201.pdf",
        ),
        (
            "Content-Disposition: x; filename=ü.txt; size=3",
            "Content-Disposition: x; filename*=utf-8''%C3%BC.txt; size=3",
        ),
    ],
)
def test_fields(given_: str, made: str) -> None:
    assert _field(given_) == made


def test_what_is_not_utf8_stays() -> None:
    assert surrogate.field(b"Subject: Gr\xfc\xdfe\n") == b"Subject: Gr\xfc\xdfe\n"
    assert surrogate.field("Sübject: x\n".encode()) == "Sübject: x\n".encode()


def test_folded_fields() -> None:
    made = surrogate.field("Subject: one\n\tzwölf\n two\n".encode())
    assert encode.decode_words(made.decode().replace("\n", "")) == "Subject: one\tzwölf two"


def test_a_message_with_parts() -> None:
    data = (
        "From: é@x.test\nSubject: ü\nContent-Type: multipart/mixed; boundary=b\n\n"
        "--b\nContent-Disposition: attachment; filename=ü\n\nbody ü stays\n--b--\n"
    ).encode()
    made = surrogate.message(data)
    assert "body ü stays\n--b--\n".encode() in made
    parsed = email.message_from_bytes(made, policy=email.policy.default)
    assert parsed["subject"] == "ü"
    (part,) = parsed.iter_attachments()
    assert part.get_filename() == "ü"
    assert surrogate.header(data[: data.index(b"\n\n") + 2]).endswith(b"boundary=b\n\n")


@given(st.text(max_size=200), st.sampled_from(["Subject", "From", "To", "Content-Type", "X-Any", "References"]))
def test_whatever_is_in_it_the_result_is_ascii_and_one_field(text: str, name: str) -> None:
    value = "".join(character for character in text if character not in "\n\r\0")
    raw = f"{name}: {value}\n".encode("utf-8", "replace")
    made = surrogate.field(raw)
    if made != raw:
        assert made.isascii()
    assert made.endswith(b"\n")
    assert all(line[:1] in (b" ", b"\t") for line in made[:-1].split(b"\n")[1:])


_SHOWN = st.characters(min_codepoint=0xA0, exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp", "Cn", "Cf", "Co"))


@given(st.text(_SHOWN, min_size=1, max_size=80))
def test_a_subject_is_read_as_it_was(text: str) -> None:
    made = surrogate.field(f"Subject: {text}\n".encode()).decode()
    assert all(len(line) <= 90 for line in made.split("\n"))
    assert encode.decode_words(made[len("Subject: ") : -1].replace("\n", "")) == text
