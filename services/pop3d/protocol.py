"""The POP3 server as a pure machine: bytes in, events out, replies collected (RFC 1939, 2449, 5034, 6856).

    machine.greet(); …; machine.receive(data)
    while (event := machine.next_event()) is not None:
        …do what it says; to those that ask: machine.logged_in(…), machine.fail(…) …
    transport.write(machine.take_output())

The machine knows the grammar, the states and the messages of the session; it knows no password and no file. Nothing is
read from the input while an event waits for its answer, so pipelined commands are answered in order (RFC 2449 6.6).
"""

import binascii
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from tubepost.common.mail.lines import Input

from tubepost.services.pop3d import events
from tubepost.services.pop3d.events import Event
from tubepost.services.pop3d.maildrop import Maildrop

# RFC 4422 3.1
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")
_NUMBER = re.compile(r"[0-9]{1,10}")
# RFC 6856 3.1: a basic language range (RFC 4647 2.1).
_LANGUAGE = re.compile(r"\*|[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")
_LANGUAGES = {"en": "English", "i-default": "English"}


class State(Enum):
    """RFC 1939 3. UPDATE is a moment within QUIT."""

    __hash__ = object.__hash__

    AUTHORIZATION = "who is it?"
    RESPONSE = "a response to a challenge is due"
    TRANSACTION = "the maildrop is open"
    CLOSED = "the session is over"


# Octets of replies after which the client must take some: a listing can be as long as a mailbox has messages.
_PORTION = 128 * 1024
_BEFORE = frozenset({State.AUTHORIZATION})
_AFTER = frozenset({State.TRANSACTION})
_ALWAYS = _BEFORE | _AFTER
# Looked at with every command: plain names cost less than an Enum's attributes.
_TRANSACTION, _RESPONSE, _CLOSED = State.TRANSACTION, State.RESPONSE, State.CLOSED


@dataclass(frozen=True, slots=True)
class Settings:
    """``line_limit``: most octets of a command; ``error_limit``: errors in a row, and failed logins in all.

    ``login_delay``: seconds, announced (RFC 2449 6.5); 0: none.
    """

    banner: str
    implementation: str
    line_limit: int = 65536
    error_limit: int = 10
    login_delay: int = 0


# What a command returns that was answered here.
Nothing = Event | None


class Machine(Input):
    """One session."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.line_limit)
        self.settings = settings
        self.state = State.AUTHORIZATION
        self.mechanisms: tuple[str, ...] = ()
        """What this connection may use now; PLAIN among them allows USER and PASS."""
        self.timestamp = ""
        """APOP may be used with this, which was said in the greeting; empty: it may not."""
        self.tls_offered = False
        self.tls_active = False
        self.utf8 = False
        self.maildrop: Maildrop | None = None
        self.commands = 0
        """How many lines were understood as such so far: who sends none is idle."""
        self.output: list[bytes] = []
        self._said = 0
        self._name: str | None = None
        self._errors = 0
        self._failures = 0
        self._reason: str | None = None

    # -- bytes -------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take in what the client sent."""
        if self.state is not State.CLOSED:
            super().receive(data)

    def take_output(self) -> bytes:
        data = b"".join(self.output)
        self.output.clear()
        return data

    def reply(self, text: str) -> None:
        self._said += len(text) + 2
        self.output.append(f"{text}\r\n".encode())

    # -- events ------------------------------------------------------------------------------------------------------

    def next_event(self) -> Event | None:
        """None when more input is needed, or after Hangup."""
        while True:
            if self._reason is not None:
                reason, self._reason = self._reason, None
                self.state = State.CLOSED
                self.forget_input()
                return events.Hangup(reason)
            if self._said > _PORTION:
                self._said = 0
                return events.Full()
            if self.state is _CLOSED or self._position >= len(self._buffer):
                return None
            line = self.next_line()
            if line is None:
                return None
            self.commands += 1
            event = self._respond(line) if self.state is _RESPONSE else self._obey(line)
            if event is not None:
                return event

    def _obey(self, line: bytes) -> Event | None:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            return self._wrong("That is not UTF-8")
        verb, _, rest = text.partition(" ")
        verb = verb.upper()
        command = _COMMANDS.get(verb)
        if "\0" in text:
            return self._wrong("That line is too long or has NUL in it")
        if command is None:
            return self._wrong("There is no such command")
        states, handler = command
        if self.state not in states:
            return self._wrong("Log in first" if self.state is State.AUTHORIZATION else "You are logged in already")
        # RFC 1939 7 lets a password begin and end with spaces.
        event = handler(self, rest if verb == "PASS" else rest.strip(" "))
        if verb != "USER":
            self._name = None
        return event

    def _wrong(self, text: str, code: str = "") -> Nothing:
        """The client's mistake."""
        self._say_error(text, code)
        self._errors += 1
        if self._errors >= self.settings.error_limit and self._reason is None:
            self._reason = "too many errors"
        return None

    def _say_error(self, text: str, code: str) -> None:
        # RFC 2449 8
        self.reply(f"-ERR [{code}] {text}" if code else f"-ERR {text}")

    def _ok(self, text: str = "") -> Nothing:
        self._errors = 0
        self.reply(f"+OK {text}" if text else "+OK")
        return None

    # -- answers -----------------------------------------------------------------------------------------------------

    def greet(self) -> None:
        """RFC 1939 4, 7: with the timestamp where there is one."""
        self.reply(f"+OK {self.settings.banner} {self.timestamp}".rstrip())

    def logged_in(self, maildrop: Maildrop) -> None:
        """To Login, Apop, Auth, AuthResponse."""
        self.maildrop = maildrop
        self.state = State.TRANSACTION
        self._ok(f"Logged in, {len(maildrop)} messages")

    def challenge(self, data: bytes) -> None:
        """To Auth and AuthResponse: the mechanism wants to know more (RFC 5034 4)."""
        self.state = State.RESPONSE
        self.output.append(b"+ " + binascii.b2a_base64(data, newline=False) + b"\r\n")

    def fail(self, text: str, code: str = "") -> None:
        """No. ``code``: IN-USE, LOGIN-DELAY (RFC 2449 8.1), SYS/TEMP, SYS/PERM, AUTH (RFC 3206), UTF8 (RFC 6856 5)."""
        if self.state is State.RESPONSE:
            self.state = State.AUTHORIZATION
        self._say_error(text, code)
        if self.state is State.AUTHORIZATION:
            self._failures += 1
            if self._failures >= self.settings.error_limit:
                self._reason = "too many failed logins"

    def secured(self) -> None:
        """TLS is there: what was said before counts no more (RFC 2595 4)."""
        self.tls_active = True
        self._name = None
        self._errors = 0

    def bye(self, removed: bool = True) -> None:
        """To Quit. ``removed``: all that was marked (RFC 1939 6)."""
        if removed:
            self._ok("Bye")
        else:
            self._say_error("Some messages could not be removed", "SYS/TEMP")
        self._reason = ""

    def leave(self) -> None:
        """The program is to end. RFC 1939 has no way to say so to a client that asked nothing."""
        self._reason = "server is shutting down"

    # -- AUTHORIZATION -----------------------------------------------------------------------------------------------

    @property
    def may_use_password(self) -> bool:
        """USER and PASS are PLAIN in other words, and may be used where that may."""
        return "PLAIN" in self.mechanisms

    def _user(self, rest: str) -> Nothing:
        if not self.may_use_password:
            # RFC 2595 2.2; RFC 3206 4: an attempt against policy.
            return self._wrong("No password may be sent on this connection: use STLS", "AUTH")
        if not rest:
            return self._wrong("A name is missing")
        self._name = rest
        return self._ok()

    def _pass(self, rest: str) -> Event | None:
        # RFC 1939 7: immediately behind USER.
        if self._name is None:
            return self._wrong("Say USER first")
        return events.Login(self._name, rest)

    def _apop(self, rest: str) -> Event | None:
        if not self.timestamp:
            return self._wrong("There is no such command")
        name, _, digest = rest.rpartition(" ")
        if not name or not digest:
            return self._wrong("A name and a digest are needed")
        return events.Apop(name, digest)

    def _auth(self, rest: str) -> Event | None:
        words = rest.split()
        if not words:
            # Older clients ask so what there is.
            return self._list("Mechanisms follow", self.mechanisms)
        mechanism = words[0].upper()
        if len(words) > 2 or not _MECHANISM.fullmatch(mechanism):
            return self._wrong("A mechanism is needed, and at most an initial response")
        if mechanism not in self.mechanisms:
            return self._wrong("That mechanism is not offered on this connection", "AUTH")
        if len(words) == 1:
            return events.Auth(mechanism, None)
        try:
            # RFC 5034 4: "=" is an initial response of no octets.
            initial = b"" if words[1] == "=" else _decode(words[1].encode())
        except ValueError:
            return self._wrong("The initial response is not base64")
        return events.Auth(mechanism, initial)

    def _respond(self, line: bytes) -> Event | None:
        try:
            if line == b"*":
                raise ValueError("Authentication cancelled")
            data = _decode(line)
        except ValueError as error:
            self.state = State.AUTHORIZATION
            self._wrong("Authentication cancelled" if line == b"*" else f"The response is not base64: {error}")
            return events.AuthAbandoned()
        return events.AuthResponse(data)

    def _stls(self, rest: str) -> Event | None:
        if rest:
            return self._wrong("STLS has no arguments")
        if self.tls_active:
            return self._wrong("TLS is active already")
        if not self.tls_offered:
            return self._wrong("TLS is not available")
        if self.utf8:
            # RFC 6856 2.1
            return self._wrong("STLS must come before UTF8")
        return events.StartTls()

    def _utf8(self, rest: str) -> Nothing:
        if rest:
            return self._wrong("UTF8 has no arguments")
        self.utf8 = True
        return self._ok("UTF8 enabled")

    # -- both states -------------------------------------------------------------------------------------------------

    def capabilities(self) -> list[str]:
        """RFC 2449 5 and 6; what does not differ between the states is announced in both."""
        found = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "UTF8 USER", "LANG", "EXPIRE NEVER"]
        if self.may_use_password:
            found.append("USER")
        if self.mechanisms:
            # RFC 5034 3
            found.append(f"SASL {' '.join(self.mechanisms)}")
        if self.tls_offered and not self.tls_active:
            found.append("STLS")
        if self.settings.login_delay:
            found.append(f"LOGIN-DELAY {self.settings.login_delay}")
        found.append(f"IMPLEMENTATION {self.settings.implementation}")
        return found

    def _capa(self, rest: str) -> Nothing:
        if rest:
            return self._wrong("CAPA has no arguments")
        return self._list("Capability list follows", self.capabilities())

    def _lang(self, rest: str) -> Nothing:
        if not rest:
            return self._list("Languages follow", (f"{tag} {name}" for tag, name in _LANGUAGES.items()))
        if not _LANGUAGE.fullmatch(rest):
            return self._wrong("That is no language")
        # RFC 6856 3.1: "*" is the administrator's choice.
        wanted = "en" if rest == "*" else rest.lower()
        if wanted not in _LANGUAGES:
            return self._wrong("That language is not spoken here")
        return self._ok(f"{wanted} Language changed")

    def _quit(self, rest: str) -> Event | None:
        if rest:
            return self._wrong("QUIT has no arguments")
        if self.state is _TRANSACTION:
            return events.Quit()
        self._ok("Bye")
        self._reason = ""
        return None

    # -- TRANSACTION -------------------------------------------------------------------------------------------------

    def _list(self, first: str, lines: Iterable[str]) -> Nothing:
        self._errors = 0
        listing = f"+OK {first}\r\n{''.join([f'{line}{_EOL}' for line in lines])}.\r\n".encode()
        self._said += len(listing)
        self.output.append(listing)
        return None

    def _stat(self, rest: str) -> Nothing:
        drop = self.maildrop
        assert drop is not None
        if rest:
            return self._wrong("STAT has no arguments")
        return self._ok(f"{drop.count} {drop.total}")

    def _index(self, text: str) -> int | None:
        """Of a message that is there; None after the error was said."""
        drop = self.maildrop
        assert drop is not None
        if not _NUMBER.fullmatch(text):
            self._wrong("A message number is needed")
            return None
        index = int(text) - 1
        if not 0 <= index < len(drop):
            self._say_error("There is no such message", "")
            return None
        if index in drop.deleted:
            self._say_error("That message is marked as deleted", "")
            return None
        return index

    def _list_sizes(self, rest: str) -> Nothing:
        drop = self.maildrop
        assert drop is not None
        if not rest:
            sizes = drop.sizes
            first = f"{drop.count} messages ({drop.total} octets)"
            return self._list(first, (f"{index + 1} {sizes[index]}" for index in drop.present()))
        index = self._index(rest)
        return self._ok(f"{index + 1} {drop.sizes[index]}") if index is not None else None

    def _list_ids(self, rest: str) -> Nothing:
        drop = self.maildrop
        assert drop is not None
        if not rest:
            return self._list("Unique ids follow", (f"{index + 1} {drop.uidl(index)}" for index in drop.present()))
        index = self._index(rest)
        return self._ok(f"{index + 1} {drop.uidl(index)}") if index is not None else None

    def _retr(self, rest: str) -> Event | None:
        index = self._index(rest)
        if index is None:
            return None
        self._errors = 0
        return events.Retrieve(index, None)

    def _top(self, rest: str) -> Event | None:
        number, _, lines = rest.partition(" ")
        if not _NUMBER.fullmatch(lines):
            return self._wrong("A message number and a number of lines are needed")
        index = self._index(number)
        if index is None:
            return None
        self._errors = 0
        return events.Retrieve(index, int(lines))

    def _dele(self, rest: str) -> Nothing:
        index = self._index(rest)
        if index is not None:
            assert self.maildrop is not None
            self.maildrop.delete(index)
            self._ok("Marked to be deleted")
        return None

    def _noop(self, rest: str) -> Nothing:
        return self._wrong("NOOP has no arguments") if rest else self._ok()

    def _rset(self, rest: str) -> Nothing:
        if rest:
            return self._wrong("RSET has no arguments")
        drop = self.maildrop
        assert drop is not None
        drop.reset()
        return self._ok(f"{drop.count} messages ({drop.total} octets)")


_EOL = "\r\n"


def _decode(text: bytes) -> bytes:
    """Base64 without anything beside it (RFC 5034 4). Raises ValueError."""
    return binascii.a2b_base64(text, strict_mode=True) if text else b""


_COMMANDS: dict[str, tuple[frozenset[State], Callable[[Machine, str], Event | None]]] = {
    "USER": (_BEFORE, Machine._user),
    "PASS": (_BEFORE, Machine._pass),
    "APOP": (_BEFORE, Machine._apop),
    "AUTH": (_BEFORE, Machine._auth),
    "STLS": (_BEFORE, Machine._stls),
    "UTF8": (_BEFORE, Machine._utf8),
    "CAPA": (_ALWAYS, Machine._capa),
    "LANG": (_ALWAYS, Machine._lang),
    "QUIT": (_ALWAYS, Machine._quit),
    "STAT": (_AFTER, Machine._stat),
    "LIST": (_AFTER, Machine._list_sizes),
    "UIDL": (_AFTER, Machine._list_ids),
    "RETR": (_AFTER, Machine._retr),
    "TOP": (_AFTER, Machine._top),
    "DELE": (_AFTER, Machine._dele),
    "NOOP": (_AFTER, Machine._noop),
    "RSET": (_AFTER, Machine._rset),
}
