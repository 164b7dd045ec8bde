"""What stands behind ``pipe`` in master.cf, and the words that it makes for a job. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tubepost.common.mail import address
from tubepost.common.wire.delivery import Job
from tubepost.common.wire.envelope import Recipient

FLAGS = "BDFORXhqu.>"
_NAME = re.compile(r"\$(?:\$|\{(\w+)\}|\((\w+)\)|(\w+)|)", re.ASCII)
_ESCAPE = re.compile(r"\\(?:([abfnrtv\\])|([0-7]{1,3}))")
_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\",
}  # fmt: skip
_BY_RECIPIENT = frozenset({"recipient", "original_recipient", "user", "extension", "mailbox", "domain"})
_BY_JOB = frozenset(
    {
        "sender", "nexthop", "size", "queue_id", "envid", "client_address", "client_helo", "client_hostname",
        "client_port", "client_protocol", "sasl_method", "sasl_sender", "sasl_username",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """Of one service. ``size``: bytes, 0 for no limit. ``group`` empty: the user's own."""

    argv: tuple[str, ...]
    user: str
    group: str = ""
    flags: str = ""
    directory: str = ""
    chroot: str = ""
    eol: bytes = b"\n"
    null_sender: str = "MAILER-DAEMON"
    size: int = 0


def parse(words: Sequence[str]) -> Options:
    """The words behind the program's name. Raises ValueError with the reason."""
    found: dict[str, str] = {}
    argv: tuple[str, ...] = ()
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        name = name.lower()
        if not equals or name not in _ATTRIBUTES:
            raise ValueError(f'unknown attribute "{word}": one of {", ".join(_ATTRIBUTES)} is needed')
        if name == "argv":
            argv = (value, *words[index + 1 :])
            break
        found[name] = value
    user, _, group = found.get("user", "").partition(":")
    if not user:
        raise ValueError("user= is missing")
    if not argv or not argv[0]:
        raise ValueError("argv= is missing, or names no command")
    for flag in found.get("flags", ""):
        if flag not in FLAGS:
            raise ValueError(f'unknown flag "{flag}" in flags={found["flags"]}')
    size = found.get("size", "0")
    if not size.isascii() or not size.isdigit():
        raise ValueError(f"bad size={size}: write a number of bytes")
    for argument in argv:
        _check(argument)
    return Options(
        argv=argv,
        user=user,
        group=group,
        flags=found.get("flags", ""),
        directory=found.get("directory", ""),
        chroot=found.get("chroot", ""),
        eol=_ESCAPE.sub(_unescape, found["eol"]).encode("latin-1", "replace") if "eol" in found else b"\n",
        null_sender=found.get("null_sender", "MAILER-DAEMON"),
        size=int(size[:18]),
    )


_ATTRIBUTES = ("flags", "user", "directory", "chroot", "eol", "null_sender", "size", "argv")


def _unescape(match: re.Match[str]) -> str:
    return _ESCAPES[match[1]] if match[1] else chr(int(match[2], 8) & 0xFF)


def _check(argument: str) -> None:
    for match in _NAME.finditer(argument):
        name = match[1] or match[2] or match[3]
        if name is None and match[0] != "$$":
            raise ValueError(f'a name is missing after $ in "{argument}" (write $$ for a dollar sign)')
        if name is not None and name not in _BY_RECIPIENT and name not in _BY_JOB:
            raise ValueError(f'unknown name "{name}" in "{argument}"')


def command_words(options: Options, job: Job, delimiter: str) -> tuple[str, ...]:
    """Program and arguments for a job. What an address holds is never looked at again for names."""
    common = _of_job(options, job)
    words: list[str] = []
    for argument in options.argv:
        names = {match[1] or match[2] or match[3] for match in _NAME.finditer(argument)}
        if names & _BY_RECIPIENT:
            for queued in job.recipients:
                words.append(_fill(argument, common | _of_recipient(options, queued.recipient, delimiter)))
        else:
            words.append(_fill(argument, common))
    return tuple(words)


def _fill(argument: str, values: Mapping[str, str]) -> str:
    # A NUL cannot stand in an argument.
    return _NAME.sub(
        lambda match: "$" if match[0] == "$$" else values[match[1] or match[2] or match[3]], argument
    ).replace("\0", "_")


def sender(options: Options, job: Job) -> str:
    """For From_ and Return-Path:."""
    return job.envelope.sender or options.null_sender


def _of_job(options: Options, job: Job) -> dict[str, str]:
    envelope = job.envelope
    origin = envelope.origin
    given = sender(options, job)
    if "q" not in options.flags:
        given = address.unquote(given)
    elif given and not envelope.sender:
        given = address.quote(given)
    return {
        "sender": given,
        "nexthop": job.nexthop.lower() if "h" in options.flags else job.nexthop,
        "size": str(job.content_length),
        "queue_id": job.queue_id,
        "envid": envelope.envid,
        "client_address": origin.client_address,
        "client_helo": origin.helo,
        "client_hostname": origin.client_name,
        "client_port": origin.client_port,
        "client_protocol": origin.protocol,
        "sasl_method": origin.sasl_method,
        "sasl_sender": origin.sasl_sender,
        "sasl_username": origin.sasl_username,
    }


def _of_recipient(options: Options, recipient: Recipient, delimiter: str) -> dict[str, str]:
    bare = fold(address.unquote(recipient.address), options.flags)
    # The last @ divides the bare form, as in Postfix.
    mailbox, _, domain = bare.rpartition("@") if "@" in bare else (bare, "", "")
    user, extension = address.strip_extension(mailbox, delimiter)
    whole = {
        "recipient": recipient.address,
        "original_recipient": recipient.original or recipient.address,
    }
    for name, value in whole.items():
        whole[name] = fold(value if "q" in options.flags else address.unquote(value), options.flags)
    return whole | {"user": user, "extension": extension or "", "mailbox": mailbox, "domain": domain}


def fold(text: str, flags: str) -> str:
    """An address with its local part (``u``) and its domain (``h``) in lower case."""
    local, at, domain = text.rpartition("@")
    if not at:
        return text.casefold() if "u" in flags else text
    return f"{local.casefold() if 'u' in flags else local}@{domain.casefold() if 'h' in flags else domain}"
