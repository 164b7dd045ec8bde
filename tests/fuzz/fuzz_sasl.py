"""Fuzzes the SASL mechanisms from both sides, and the protocol in which others ask our auth (Dovecot's).

The invariant: whatever a client says, the server's machine ends in a step that the table of steps knows, never in
Accepted without having asked; whatever a server says, the client's machine answers or raises ExchangeError, and
believes no success that was not proved; a line of the auth protocol is understood or raises ProtocolError, and no
answer has more than its one line.

    python -m tests.fuzz sasl -max_total_time=20
"""

from tubepost.common.sasl import mechanisms, prep, scram
from tubepost.common.sasl.steps import Accepted, Challenge, ExchangeError, NeedKeys, Rejected, Step, VerifyPassword

from tests.fuzz.driver import Harness
from tubepost.services.authclient import protocol

WORDS = [
    b"n,,", b"y,,", b"p=tls-exporter,,", b"n=user", b",r=abcDEF", b",", b"a=x", b"c=biws", b",p=AAAA", b"r=", b"s=QUFB",
    b",i=4096", b",i=1", b"v=AAAA", b"e=x", b"\0", b"\0user\0secret", b"user=me\x01", b"auth=Bearer abc\x01", b"\x01",
    b"m=x", b"=2C", b"=3D", b"=", b"\xc3\xbc", b"\xff", b"x" * 300, b"\n", b"{}", b'{"status":"x"}', b"<1.2@h>",
    b"user 0123456789abcdef0123456789abcdef", b"AUTH\t1\tPLAIN\tservice=smtp\tresp=", b"CONT\t1\t", b"CANCEL\t1",
    b"VERSION\t1\t2", b"CPID\t7", b"AAAA", b"\t", b"\x01t", b"\xc2\xad", b"\xe2\x80\x8b", b"\xd8\xa7a",
]  # fmt: skip
_NAMES = tuple(sorted(mechanisms.SERVERS))
_CLIENTS = tuple(sorted(mechanisms.CLIENTS))
_SETTINGS = mechanisms.ServerSettings(
    nonce="abcDEF", secret=b"s" * 16, iterations=1, binding=b"b" * 32, challenge=b"<1.2@h>", oauth_scope="mail"
)
_KEYS = "AAAA"


def server(name: str, pieces: list[bytes], settings: int) -> None:
    machine = mechanisms.make_server(name, _SETTINGS)
    asked = False
    step: Step = machine.begin(pieces[0] if settings & 16 else None)
    for piece in [*pieces, b""]:
        while not isinstance(step, (Challenge, Accepted, Rejected)):
            asked = True
            if isinstance(step, VerifyPassword):
                assert step.login and step.password
                step = machine.verified(True)
            elif isinstance(step, NeedKeys):
                assert step.login
                step = machine.verified(None if settings & 32 else "secret")
            else:
                step = machine.verified(None if settings & 32 else "user")
        if isinstance(step, Accepted):
            assert asked and step.login
            return
        if isinstance(step, Rejected):
            assert step.text
            return
        step = machine.respond(piece)


def client(name: str, pieces: list[bytes]) -> None:
    machine = mechanisms.make_client(name, "user", "secret", nonce="abcDEF", binding=b"b" * 32)
    machine.start()
    for piece in pieces:
        # What a server asks for of iterations is the server's affair, within a limit; here it would only take time.
        if b"i=" in piece and b"i=1" not in piece:
            continue
        if len(piece.partition(b"i=")[2]) > 3:
            continue
        try:
            assert isinstance(machine.respond(piece), bytes)
        except ExchangeError:
            return
    if name.startswith("SCRAM"):
        for last in (b"", None, b"v=", b"v=AAAA"):
            try:
                machine.finish(last)
            except ExchangeError:
                continue
            raise AssertionError("it believes a server that proved nothing")


def lines(data: bytes) -> None:
    for line in data.split(b"\n"):
        try:
            command = protocol.parse(line)
        except protocol.ProtocolError as error:
            assert str(error)
            continue
        if isinstance(command, protocol.Auth):
            assert command.mechanism == command.mechanism.upper()
    text = data.decode("utf-8", "replace")
    assert protocol.unescape(protocol.escape(text)) == text
    for answer in (protocol.ok(1, text, data), protocol.challenge(1, data), protocol.fail(1, "temporary")):
        assert answer.count(b"\n") == 1 and answer.endswith(b"\n")


def check(settings: int, data: bytes) -> None:
    pieces = data.split(b"\r\n")[:6]
    kind = settings & 15
    if kind < len(_NAMES):
        server(_NAMES[kind], pieces, settings)
    if kind < len(_CLIENTS):
        client(_CLIENTS[kind], pieces)
    if kind == 15:
        lines(data)
    if kind == 14:
        text = data.decode("utf-8", "replace")
        try:
            prepared = prep.saslprep(text)
        except ValueError:
            return
        assert prep.saslprep(prepared) == prepared
        assert scram.decode_name(scram.encode_name(text)) == prepared
        try:
            scram.parse_keys(text)
        except ValueError:
            return


HARNESS = Harness(
    check,
    WORDS,
    [
        *(bytes((number,)) + b"n,,n=user,r=abc\r\nc=biws,r=abcabcDEF,p=AAAA" for number in range(32)),
        *(bytes((number | 16,)) + b"\0user\0secret" for number in range(12)),
        b"\x0fAUTH\t1\tPLAIN\tservice=smtp\tresp=AAAA\nCONT\t1\tAAAA\nCANCEL\t1",
    ],
)
