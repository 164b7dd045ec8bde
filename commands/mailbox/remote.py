"""Another IMAP server as a source of mail: a connection that only reads (RFC 9051, RFC 3501)."""

import base64
import secrets
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence

from tubepost.common.imap import client, write
from tubepost.common.imap.client import (
    Event,
    Listed,
    LiteralBegin,
    LiteralData,
    LiteralEnd,
    Response,
    ResponseReader,
    Status,
    Untagged,
)
from tubepost.common.imap.sets import compact

from tubepost.common.sasl.mechanisms import make_client
from tubepost.common.sasl.steps import ExchangeError
from tubepost.common.mailbox.interface import Draft

from tubepost.commands.mailbox.address import Address, Faults, RemoteError, is_loopback
from tubepost.commands.mailbox.intake import Item, SourceFolder, message_id_of

# Seconds without a word from the server.
_PATIENCE = 120.0
_CONNECT_PATIENCE = 30.0
_RECEIVE = 1 << 18
# Messages whose facts are asked for at once.
_FACTS = 1000
# Octets of all responses to one command, but for messages, which go to the disk as they come.
_RESPONSES_LIMIT = 64 << 20
_ITEMS = b"(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"
# RFC 6154: what the store can take over. Folders that are views of others are left out: their mail is elsewhere.
_USES = {name.lower(): name for name in (b"\\Archive", b"\\Drafts", b"\\Junk", b"\\Sent", b"\\Trash")}
_VIEWS = frozenset((b"\\all", b"\\flagged", b"\\important"))
_NOT_THERE = frozenset((b"\\noselect", b"\\nonexistent"))


class Remote:
    """A session. Raises RemoteError from every method."""

    def __init__(self, address: Address, *, insecure: bool = False, context: ssl.SSLContext | None = None) -> None:
        self._address = address
        self._reader = ResponseReader()
        self._count = 0
        self.capabilities: frozenset[bytes] = frozenset()
        self._prefix = ("", "")
        self._foreign: tuple[str, ...] = ()
        self._ended = Status(b"OK", b"", b"", "")
        context = context or ssl.create_default_context()
        with self._faults():
            self._socket = socket.create_connection((address.host, address.port), _CONNECT_PATIENCE)
            self._socket.settimeout(_PATIENCE)
            if address.security == "tls":
                self._socket = context.wrap_socket(self._socket, server_hostname=address.host)
        self._greet()
        self.is_encrypted = address.security == "tls"
        if not self.is_encrypted:
            self._start_tls(context, insecure)

    def _faults(self) -> "Faults":
        return Faults(f"{self._address.host} port {self._address.port}")

    def close(self) -> None:
        """Says goodbye where that is possible."""
        try:
            self.run(b"LOGOUT")
        except RemoteError:
            pass
        self._socket.close()

    # Words

    def _send(self, data: bytes) -> None:
        with self._faults():
            self._socket.sendall(data)

    def _next(self) -> Event:
        with self._faults():
            while (event := self._reader.next_event()) is None:
                data = self._socket.recv(_RECEIVE)
                if not data:
                    raise ConnectionError("the server closed the connection")
                self._reader.feed(data)
            return event

    def _greet(self) -> None:
        event = self._next()
        status = client.parse_status(event.data) if isinstance(event, Response) and event.tag == b"*" else None
        if status is None or status.word == b"BYE":
            raise RemoteError(f"{self._address.host} does not want to talk: {status.text if status else 'no greeting'}")
        self._note(status)

    def _note(self, status: Status) -> None:
        if status.code == b"CAPABILITY":
            self.capabilities = client.parse_capabilities(status.value)

    def stream(self, *pieces: bytes, answer: Callable[[bytes], bytes] | None = None) -> Iterator[Event]:
        """The events of one command until its end. Before each piece but the first the server's leave is awaited.

        ``answer``: asked for what to say when the server waits (SASL).
        """
        self._count += 1
        tag = b"t%d" % self._count
        waiting = list(pieces[1:])
        self._send(tag + b" " + pieces[0] + b"\r\n")
        while True:
            event = self._next()
            if not isinstance(event, Response) or event.tag not in (b"+", tag):
                if isinstance(event, Response) and event.tag == b"*":
                    status = client.parse_status(event.data)
                    if status is not None:
                        self._note(status)
                        if status.word == b"BYE" and pieces[0] != b"LOGOUT":
                            raise RemoteError(f"{self._address.host} ended the session: {status.text}")
                yield event
                continue
            if event.tag == b"+":
                if waiting:
                    self._send(waiting.pop(0) + b"\r\n")
                elif answer is not None:
                    self._send(answer(event.data) + b"\r\n")
                else:
                    raise RemoteError(f"{self._address.host} waits for something that it was not promised")
                continue
            status = client.parse_status(event.data)
            if status is None or status.word != b"OK":
                words = pieces[0].split(b" ")
                verb = b" ".join(words[: 2 if words[0] == b"UID" else 1]).decode("ascii", "replace")
                text = status.text if status else "no status"
                raise RemoteError(f"{self._address.host} refuses {verb}: {text}")
            self._note(status)
            self._ended = status
            return

    def _cut_at(self) -> int:
        """Where the server stopped within the last command: the lowest UID that it worked on; 0: it did all of it.

        RFC 9738 3.1: it works from the highest UID to the lowest.
        """
        words = self._ended.value.split()
        cut = self._ended.code == b"MESSAGELIMIT" and len(words) == 2 and words[1].isdigit()
        return int(words[1]) if cut else 0

    def run(self, *pieces: bytes, answer: Callable[[bytes], bytes] | None = None) -> list[Untagged]:
        """The untagged responses to a command."""
        found = []
        octets = 0
        for event in self.stream(*pieces, answer=answer):
            if isinstance(event, Response):
                octets += len(event.data)
                if octets > _RESPONSES_LIMIT:
                    raise RemoteError(f"{self._address.host} answers without end")
                with self._faults():
                    found.append(client.parse_untagged(event.data))
        return found

    # Beginning

    def _ask_capabilities(self) -> None:
        for untagged in self.run(b"CAPABILITY"):
            if untagged.name == b"CAPABILITY":
                self.capabilities = client.parse_capabilities(untagged.rest)

    def _start_tls(self, context: ssl.SSLContext, insecure: bool) -> None:
        if not self.capabilities:
            self._ask_capabilities()
        if b"STARTTLS" in self.capabilities:
            self.run(b"STARTTLS")
            if self._reader.buffered:
                # RFC 9051 11.1: what was said in clear must not be taken for what came encrypted.
                raise RemoteError(f"{self._address.host} sent more than the answer to STARTTLS")
            with self._faults():
                self._socket = context.wrap_socket(self._socket, server_hostname=self._address.host)
            self.is_encrypted = True
            self.capabilities = frozenset()
        elif not insecure and not is_loopback(self._address.host):
            raise RemoteError(
                f"{self._address.host} offers no STARTTLS, and the password is not sent in clear: "
                f"try imaps://, or --insecure"
            )

    def login(self, user: str, password: str) -> None:
        if not self.capabilities:
            self._ask_capabilities()
        offered = [word[5:].decode("ascii", "replace") for word in self.capabilities if word.startswith(b"AUTH=")]
        # Within TLS what every kind of stored password can check; in clear what does not tell it.
        wanted = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-1"]
        if not self.is_encrypted:
            wanted = [*wanted[1:], "CRAM-MD5", "PLAIN"]
        mechanism = next((name for name in wanted if name in offered), None)
        if mechanism is None:
            self._plain_login(user, password)
        else:
            self._authenticate(mechanism, user, password)
        self._ask_capabilities()
        self._find_prefix()

    def _plain_login(self, user: str, password: str) -> None:
        if b"LOGINDISABLED" in self.capabilities:
            raise RemoteError(f"{self._address.host} offers no way to log in that is known here")
        pieces = [b"LOGIN"]
        for word in (user, password):
            given = write.string(word)
            head, brace, rest = given.partition(b"\r\n")
            pieces[-1] += b" " + head
            if brace:
                # A literal: its octets follow when the server asks for them.
                pieces.append(rest)
        self.run(*pieces)

    def _authenticate(self, mechanism: str, user: str, password: str) -> None:
        try:
            machine = make_client(mechanism, user, password, nonce=secrets.token_urlsafe(18))
            initial = machine.start()
        except ValueError as error:
            raise RemoteError(f"the name or password cannot be used with {mechanism}: {error}") from None
        command = b"AUTHENTICATE " + mechanism.encode()
        held: list[bytes] = []
        if initial is not None:
            coded = base64.b64encode(initial)
            if b"SASL-IR" in self.capabilities:
                # RFC 4959 3: an empty initial response is "=".
                command += b" " + (coded or b"=")
            else:
                held.append(coded)

        def answer(challenge: bytes) -> bytes:
            if held:
                return held.pop()
            try:
                return base64.b64encode(machine.respond(base64.b64decode(challenge)))
            except (ExchangeError, ValueError) as error:
                raise RemoteError(f"{self._address.host}: {mechanism}: {error}") from None

        self.run(command, answer=answer)
        try:
            machine.finish(None)
        except ExchangeError as error:
            raise RemoteError(f"{self._address.host} did not prove that it knows the password: {error}") from None

    def _find_prefix(self) -> None:
        if b"NAMESPACE" not in self.capabilities:
            return
        for untagged in self.run(b"NAMESPACE"):
            if untagged.name == b"NAMESPACE":
                with self._faults():
                    names = client.parse_namespace(untagged.rest)
                if names.personal and names.personal[0][1]:
                    self._prefix = names.personal[0]
                # What others share is theirs to move.
                self._foreign = tuple(prefix for prefix, _ in (*names.others, *names.shared) if prefix)

    # Folders

    def _list(self, command: bytes) -> list[Listed]:
        found = []
        for untagged in self.run(command):
            if untagged.name in (b"LIST", b"LSUB"):
                with self._faults():
                    found.append(client.parse_list(untagged.rest))
        return found

    def _name(self, listed: Listed) -> str:
        """In our store: below no prefix of the server's, levels parted by a slash."""
        prefix, _ = self._prefix
        name = listed.name
        if prefix and name.startswith(prefix) and name != prefix:
            name = name[len(prefix) :]
        if listed.separator and listed.separator != "/":
            name = name.replace("/", "_").replace(listed.separator, "/")
        elif not listed.separator:
            name = name.replace("/", "_")
        return name

    def folders(self) -> list[SourceFolder]:
        """Those of the user that have messages of their own."""
        command = b'LIST "" "*"'
        if b"SPECIAL-USE" in self.capabilities and b"LIST-EXTENDED" in self.capabilities:
            command += b" RETURN (SPECIAL-USE)"
        own = self._prefix[0]
        found = []
        for listed in self._list(command):
            if listed.attributes & _NOT_THERE or listed.attributes & _VIEWS:
                continue
            if own and not listed.name.startswith(own) and listed.name != "INBOX":
                continue
            if listed.name.startswith(self._foreign):
                continue
            special = tuple(name.decode() for key, name in _USES.items() if key in listed.attributes)
            found.append(SourceFolder(self._name(listed), listed.raw, special))
        return found

    def subscriptions(self) -> list[str]:
        return [
            self._name(listed)
            for listed in self._list(b'LSUB "" "*"')
            if not listed.attributes & _NOT_THERE and not listed.name.startswith(self._foreign)
        ]

    # Messages

    def _examine(self, folder: SourceFolder) -> None:
        # EXAMINE: what was new to the other programs of the user stays so.
        given = write.string(folder.raw)
        head, brace, rest = given.partition(b"\r\n")
        self.run(b"EXAMINE " + head, *([rest] if brace else []))

    def items(self, folder: SourceFolder) -> list[Item]:
        self._examine(folder)
        uids = self._search()
        found: dict[int, Item] = {}
        for start in range(0, len(uids), _FACTS):
            some = uids[start : start + _FACTS]
            while some:
                for untagged in self.run(b"UID FETCH " + compact(some) + b" " + _ITEMS):
                    if untagged.name == b"FETCH":
                        with self._faults():
                            item = _item(untagged)
                        if item is not None:
                            found[item.handle] = item
                some = _below(some, self._cut_at())
        return [found[uid] for uid in uids if uid in found]

    def _search(self) -> list[int]:
        """The UIDs of all messages, ascending."""
        found: set[int] = set()
        command = b"UID SEARCH ALL"
        highest = 1 << 32
        while True:
            for untagged in self.run(command):
                if untagged.name == b"SEARCH":
                    found.update(int(word) for word in untagged.rest.split() if word.isdigit() and len(word) <= 10)
            cut = self._cut_at()
            if not 1 < cut < highest:
                return sorted(found)
            highest = cut
            command = b"UID SEARCH UID 1:%d" % (cut - 1)

    def fetch(
        self, folder: SourceFolder, items: Sequence[Item], make: Callable[[], Draft]
    ) -> Iterator[tuple[Item, Draft]]:
        """``folder``: the one whose ``items`` were asked for last."""
        wanted = {item.handle: item for item in items}
        while wanted:
            before = list(wanted)
            yield from self._fetch(wanted, make)
            left = _below(before, self._cut_at())
            wanted = {uid: wanted[uid] for uid in left if uid in wanted}

    def _fetch(self, wanted: dict[int, Item], make: Callable[[], Draft]) -> Iterator[tuple[Item, Draft]]:
        """What came is taken out of ``wanted``."""
        draft: Draft | None = None
        try:
            for event in self.stream(b"UID FETCH " + compact(sorted(wanted)) + b" (UID BODY.PEEK[])"):
                match event:
                    case LiteralBegin():
                        if draft is not None:
                            draft.discard()
                        draft = make()
                    case LiteralData(data) if draft is not None:
                        draft.write(data)
                    case LiteralEnd() if draft is not None:
                        draft.finish()
                    case Response(_, data):
                        with self._faults():
                            untagged = client.parse_untagged(data)
                            if untagged.name != b"FETCH":
                                continue
                            values = client.parse_fetch(untagged.rest)
                            body = values.get(b"BODY[]")
                            uid = client.number_of(values[b"UID"]) if b"UID" in values else 0
                        if isinstance(body, bytes):
                            # A short one, in quotes.
                            draft = draft or make()
                            draft.write(body)
                            draft.finish()
                        item = wanted.pop(uid, None)
                        if item is None or draft is None:
                            continue
                        given, draft = draft, None
                        yield item, given
        finally:
            if draft is not None:
                draft.discard()


def _below(uids: Sequence[int], cut: int) -> list[int]:
    """Those that the server did not come to; none when it came to nothing at all."""
    below = [uid for uid in uids if uid < cut]
    return below if len(below) < len(uids) else []


def _item(untagged: Untagged) -> Item | None:
    values = client.parse_fetch(untagged.rest)
    if b"UID" not in values or b"RFC822.SIZE" not in values:
        # Somebody else changed flags meanwhile, and the server tells of it.
        return None
    header = b""
    for name, value in values.items():
        if name.startswith(b"BODY[HEADER") and isinstance(value, bytes):
            header = value.replace(b"\r\n", b"\n")
    internal = client.parse_date_time(values.get(b"INTERNALDATE"))
    return Item(
        client.number_of(values[b"UID"]),
        message_id_of(header),
        client.number_of(values[b"RFC822.SIZE"]),
        -1 if internal is None else internal,
        client.keep_flags(values.get(b"FLAGS")),
    )
