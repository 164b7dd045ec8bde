"""master.cf words of pipe, and the command that they make for a job."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.wire.delivery import Job
from tubepost.common.wire.envelope import Envelope, Origin, Recipient
from tubepost.common.wire.qmgr import QueuedRecipient

from tubepost.services.pipe.protocol import Options, command_words, fold, parse


def _job(*addresses: str, sender: str = "s@x.y", nexthop: str = "Hop") -> Job:
    return Job(
        queue_id="4dKq0t2WcKz1Jx",
        transport="cmd",
        nexthop=nexthop,
        envelope=Envelope(
            sender=sender, arrival_time=0, envid="E1", origin=Origin(client_address="192.0.2.1", helo="h")
        ),
        content_offset=0,
        content_length=77,
        recipients=tuple(
            QueuedRecipient(offset=number, recipient=Recipient(address=address, original=f"o{number}@x"))
            for number, address in enumerate(addresses)
        ),
        active_time=0,
    )


def _words(argv: str, *addresses: str, flags: str = "", sender: str = "s@x.y", **more: str) -> list[str]:
    options = Options(argv=tuple(argv.split()), user="u", flags=flags, **more)  # type: ignore[arg-type]
    return list(command_words(options, _job(*addresses, sender=sender), "+"))


def test_all_attributes() -> None:
    words = (
        "flags=DRhu user=vmail:mail directory=/d chroot=/c eol=\\r\\n\\101\\\\ null_sender= size=99 argv=/bin/x -a b=c"
    )
    assert parse(words.split()) == Options(
        argv=("/bin/x", "-a", "b=c"),
        user="vmail",
        group="mail",
        flags="DRhu",
        directory="/d",
        chroot="/c",
        eol=b"\r\nA\\",
        null_sender="",
        size=99,
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("argv=/x", "user= is missing"),
        ("user=u", "argv= is missing"),
        ("user=u argv=", "names no command"),
        ("user=u flags=Z argv=/x", 'unknown flag "Z"'),
        ("user=u size=big argv=/x", "bad size"),
        ("user=u colour=red argv=/x", "unknown attribute"),
        ("user=u argv=/x ${nonsense}", 'unknown name "nonsense"'),
        ("user=u argv=/x a$", "write \\$\\$"),
    ],
)
def test_mistakes_are_told(words: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(words.split())


def test_an_argument_with_a_recipient_is_repeated_and_others_are_not() -> None:
    assert _words("/x -f $sender -- ${recipient} -n $(nexthop)/$size", "a@x", "b+e@y") == [
        "/x", "-f", "s@x.y", "--", "a@x", "b+e@y", "-n", "Hop/77",
    ]  # fmt: skip
    assert _words("$user:$extension:$mailbox:$domain", "a@x", "b+e+f@Y") == ["a::a:x", "b:e+f:b+e+f:Y"]
    assert _words("$original_recipient", "a@x", "b@x") == ["o0@x", "o1@x"]
    assert _words("$$recipient $queue_id $envid $client_address $client_helo", "a@x") == [
        "$recipient", "4dKq0t2WcKz1Jx", "E1", "192.0.2.1", "h",
    ]  # fmt: skip


def test_folding_and_quoting() -> None:
    assert _words("$recipient $user@$domain $nexthop", "A+B@C", flags="hu") == ["a+b@c", "a@c", "hop"]
    assert _words("$recipient", "A@B", flags="h") == ["A@b"]
    assert _words("$recipient", "A@B", flags="u") == ["a@B"]
    assert _words("$recipient $user", '"a b"@c') == ["a b@c", "a b"]
    assert _words("$recipient $user", '"a b"@c', flags="q") == ['"a b"@c', "a b"]
    assert _words("$sender", "a@x", sender="") == ["MAILER-DAEMON"]
    assert _words("-f $sender", "a@x", sender="", null_sender="") == ["-f", ""]


def test_what_an_address_holds_is_not_looked_at_again() -> None:
    assert _words("$recipient", '"$sender ${size}$$"@x') == ["$sender ${size}$$@x"]


@given(st.text(max_size=30), st.sampled_from(["", "h", "u", "hu", "q", "hqu"]))
def test_a_recipient_is_always_one_word(local: str, flags: str) -> None:
    assert len(_words("/x $recipient $user", f"{local}@x", flags=flags)) == 3


def test_fold_leaves_the_other_half() -> None:
    assert fold("A@b@C", "u") == "a@b@C"
    assert fold("A", "h") == "A"
