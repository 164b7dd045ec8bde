"""SMTP smuggling through the running system, in both directions, by SMTP and LMTP.

Receiving: each variant of an end of data, whole and cut, to servers of each policy. Relaying: whatever was let in goes
to servers of the RFC's letter, and what they were sent is searched for all that a lax one would take for an end: no
second message may appear in any of them, whoever sent the first, by DATA, BDAT or sendmail.
"""

import collections
import itertools
import re
import socket
import time
from collections.abc import Iterator, Mapping

import pytest

from tests.fakes.instance import Instance, free_port
from tests.fakes.posting import post
from tests.fakes.sink import Sink
from tests.fakes.smuggling import BARE, POLICIES, VARIANTS, has_bare_newline, lax_ends, taken

# How long a server gets to work on what came up to a cut: nothing that it says shows where it stands within data.
PAUSE = 0.03
ENVELOPE = b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nRCPT TO:<%b>\r\n"
FAR = (b"victim@far.example", b"victim@lmtp.example")
NEAR = (b"alice@example.test", b"bob@example.test")
# What message_strip_characters = \0 is against: a NUL between a line end and a dot keeps the dot from being doubled.
ENDS_WITHOUT_NULS = {"nul-before-dot", "lf-nul-dot-lf", "nuls-around-dot"}


class System:
    """``smtpd``: ports by policy and by what cleanup takes out; ``lmtpd``: by policy. ``sinks``: by domain."""

    def __init__(self) -> None:
        self.smtpd = {(policy, strip): free_port() for policy in POLICIES for strip in ("", "\\0")}
        self.lmtpd = {policy: free_port() for policy in POLICIES}
        self.sinks: dict[str, Sink] = {}
        self.let_in = 0
        """Second messages that the policy "no" took."""
        self.instance: Instance

    def master(self) -> list[str]:
        lines = ["stripping unix n - n - 0 cleanup -o message_strip_characters=\\0"]
        for (policy, strip), port in self.smtpd.items():
            service = "stripping" if strip else "cleanup"
            lines.append(
                f"127.0.0.1:{port} inet n - n - - smtpd -o smtpd_forbid_bare_newline={policy}"
                f" -o smtpd_forbid_bare_newline_exclusions= -o cleanup_service_name={service}"
            )
        lines += [
            f"127.0.0.1:{port} inet n n n - - lmtpd -o smtpd_forbid_bare_newline={policy}"
            for policy, port in self.lmtpd.items()
        ]
        return lines


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    made = System()
    with Sink() as far, Sink() as lmtp, Sink(("CHUNKING", "BINARYMIME", "8BITMIME")) as chunked:
        made.sinks = {"far.example": far, "lmtp.example": lmtp, "chunked.example": chunked}
        made.instance = Instance(
            master=made.master(),
            main={
                "transport_maps": "texthash:$config_directory/transport",
                "smtp_tls_security_level": "none",
                "lmtp_tls_security_level": "none",
                "smtpd_forbid_unauth_pipelining": "no",
                "smtpd_error_sleep_time": "0",
                "bounce_notice_recipient": "alice@example.test",
            },
        )
        made.instance.write_table(
            "transport",
            f"far.example smtp:[127.0.0.1]:{far.port}\nchunked.example smtp:[127.0.0.1]:{chunked.port}\n"
            f"lmtp.example lmtp:inet:127.0.0.1:{lmtp.port}\n",
        )
        with made.instance:
            yield made


class Client:
    def __init__(self, port: int, hello: bytes = b"EHLO client.example\r\n") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lines = self.socket.makefile("rb")
        self.reply()
        self.say(hello)

    def reply(self) -> bytes:
        """The last line of a reply; nothing when the server has hung up."""
        while (line := self.lines.readline())[3:4] == b"-":
            pass
        return line

    def say(self, data: bytes) -> bytes:
        self.socket.sendall(data)
        return self.reply()

    def close(self) -> list[bytes]:
        """All replies that come until the server has said goodbye."""
        found = []
        while line := self.reply():
            found.append(line)
        self.lines.close()
        self.socket.close()
        return found


def second(recipients: tuple[bytes, ...]) -> bytes:
    return ENVELOPE % (b"smuggled@evil.example", *recipients) + b"DATA\r\nSubject: second\r\n\r\nx"


def attack(
    port: int,
    pieces: Mapping[str, list[bytes]],
    recipients: tuple[bytes, ...],
    hello: bytes = b"EHLO client.example\r\n",
) -> dict[str, list[bytes]]:
    """By subject: one message with another behind a variant of its end, sent in such pieces, all at the same time.

    What the server said from there on.
    """
    clients = {subject: Client(port, hello) for subject in pieces}
    for subject, client in clients.items():
        client.socket.sendall(ENVELOPE % (b"honest@a.example", *recipients) + b"DATA\r\n")
        assert [client.reply()[:3] for _ in range(4)] == [b"250", b"250", b"250", b"354"], subject
    for step in range(max(map(len, pieces.values()))):
        if step:
            time.sleep(PAUSE)
        for subject, client in clients.items():
            if step < len(pieces[subject]):
                client.socket.sendall(pieces[subject][step])
    return {subject: client.close() for subject, client in clients.items()}


def ways(name: str, recipients: tuple[bytes, ...], *, pauses: str) -> dict[str, list[bytes]]:
    """By subject: whole, with a pause at every octet of the variant, and with one pause, at each of its octets.

    ``pauses``: "none" for the first of these, "octets" for two, "each" for all.
    """
    variant = VARIANTS[name]
    places: list[list[int]] = [[]]
    if pauses != "none":
        places.append(list(range(len(variant) + 1)))
    if pauses == "each":
        places += [[place] for place in range(1, len(variant))]
    found = {}
    for number, cuts in enumerate(places):
        head = b"Subject: %b/%d\r\n\r\nfirst" % (name.encode(), number)
        data = head + variant + second(recipients) + b"\r\n.\r\nQUIT\r\n"
        edges = [0, *(len(head) + place for place in cuts), len(data)]
        found[f"{name}/{number}"] = [data[start:end] for start, end in itertools.pairwise(edges)]
    return found


def batches(everything: dict[str, list[bytes]], size: int = 60) -> Iterator[dict[str, list[bytes]]]:
    """So many sessions at a time, those with many pieces together."""
    items = sorted(everything.items(), key=lambda item: len(item[1]))
    for start in range(0, len(items), size):
        yield dict(items[start : start + size])


def subject(data: bytes) -> str:
    """Of a message as it stands in a mailbox or left for a sink."""
    found = re.search(rb"^Subject: (\S+?)\r?$", data, re.MULTILINE)
    assert found, data
    return found[1].decode()


def search(data: bytes) -> None:
    """Nothing that anybody takes for an end is in what we sent, and no half of a line end."""
    assert BARE.search(data) is None, data
    assert not lax_ends(data), data


@pytest.mark.parametrize(
    ("policy", "strip"), [*((policy, "") for policy in POLICIES), ("normalize", "\\0"), ("no", "\\0")]
)
def test_receiving_and_relaying(system: System, policy: str, strip: str) -> None:
    """As it comes nothing is taken out of messages (``strip``), and so NULs are what they are."""
    sinks = [system.sinks[domain] for domain in ("far.example", "lmtp.example")]
    before = [len(sink.messages) for sink in sinks]
    pauses = "none" if strip else "each" if policy == "normalize" else "octets"
    everything: dict[str, list[bytes]] = {}
    for name in VARIANTS:
        everything |= ways(name, FAR, pauses=pauses)
    expected: collections.Counter[tuple[str, str]] = collections.Counter()
    for batch in batches(everything):
        for title, replies in attack(system.smtpd[policy, strip], batch, FAR).items():
            count = taken(title.partition("/")[0], policy)
            assert sum(b"queued as" in line for line in replies) == count, (title, replies)
            assert count or replies[0].startswith(b"550 5.5.2"), (title, replies)
            if count:
                expected["honest@a.example", title] += 1
            if count > 1:
                expected["smuggled@evil.example", "second"] += 1
                system.let_in += 1
    without_nuls = set()
    for sink, start in zip(sinks, before, strict=True):
        messages = sink.wait(start + expected.total())[start:]
        assert collections.Counter((sender, subject(data)) for sender, _, data in messages) == expected
        for _, _, data in messages:
            search(data)
            if lax_ends(data, drops=b"\0"):
                without_nuls.add(subject(data).partition("/")[0])
    # What leaves as it is shipped, a variant each; with the NULs taken out nothing does.
    assert without_nuls == (set() if strip else {name for name in ENDS_WITHOUT_NULS if taken(name, policy)})


@pytest.mark.parametrize("policy", POLICIES)
def test_receiving_by_lmtp(system: System, policy: str) -> None:
    """Into mailboxes: one message each, all of what was to be smuggled in it."""
    known = {path.name for user in ("alice", "bob") for path in system.instance.messages(user)}
    everything: dict[str, list[bytes]] = {}
    for name in VARIANTS:
        everything |= ways(name, NEAR, pauses="octets")
    expected: collections.Counter[str] = collections.Counter()
    for batch in batches(everything):
        for title, replies in attack(system.lmtpd[policy], batch, NEAR, b"LHLO client.example\r\n").items():
            count = taken(title.partition("/")[0], policy)
            stored = [line for line in replies if re.match(rb"250 2\.[01]\.[05] .*(deliver|sav|stor)", line)]
            assert len(stored) == 2 * count, (title, replies)
            assert count or replies[0].startswith(b"550 5.5.2"), (title, replies)
            expected.update([title, "second"][:count])
    for user in ("alice", "bob"):
        contents = [path.read_bytes() for path in system.instance.messages(user) if path.name not in known]
        assert collections.Counter(map(subject, contents)) == expected
        for content in contents:
            whole = subject(content) == "second" or taken(subject(content).partition("/")[0], policy) == 1
            assert not whole or content.endswith(b"Subject: second\n\nx\n"), "something was lost"


@pytest.mark.parametrize("way", ["plain", "binary", "chunks of one octet"])
@pytest.mark.parametrize("domain", ["far.example", "lmtp.example", "chunked.example"])
def test_chunks_in(system: System, way: str, domain: str) -> None:
    sink = system.sinks[domain]
    before = len(sink.messages)
    for variant in VARIANTS.values():
        client = Client(system.smtpd["normalize", "\\0"])
        mail = f"MAIL FROM:<honest@a.example>{' BODY=BINARYMIME' if way == 'binary' else ''}\r\n"
        assert client.say(mail.encode()).startswith(b"250")
        assert client.say(f"RCPT TO:<victim@{domain}>\r\n".encode()).startswith(b"250")
        content = b"Subject: x\r\n\r\nfirst" + variant + second(FAR) + b"\r\n"
        step = 1 if way == "chunks of one octet" else len(content)
        sent = b"".join(
            b"BDAT %d\r\n%b" % (len(content[place : place + step]), content[place : place + step])
            for place in range(0, len(content), step)
        )
        client.socket.sendall(sent + b"BDAT 0 LAST\r\nQUIT\r\n")
        replies = client.close()
        assert sum(b"queued as" in line for line in replies) == 1, replies
    messages = sink.wait(before + len(VARIANTS))[before:]
    assert len(messages) == len(VARIANTS)
    for sender, _, data in messages:
        assert sender == "honest@a.example"
        # A server that was told the size of what comes looks for no end in it: binary content goes as it is.
        if way != "binary" or domain != "chunked.example":
            search(data)


@pytest.mark.parametrize("policy", POLICIES)
def test_chunks_by_lmtp(system: System, policy: str) -> None:
    known = {path.name for path in system.instance.messages("bob")}
    expected: collections.Counter[str] = collections.Counter()
    client = Client(system.lmtpd[policy], b"LHLO client.example\r\n")
    for name, variant in VARIANTS.items():
        assert client.say(b"MAIL FROM:<honest@a.example>\r\n").startswith(b"250")
        assert client.say(b"RCPT TO:<bob@example.test>\r\n").startswith(b"250")
        content = b"Subject: %b/0\r\n\r\nfirst" % name.encode() + variant + second(NEAR) + b"\r\n.\r\n"
        answer = client.say(b"BDAT %d LAST\r\n%b" % (len(content), content))
        refused = policy == "reject" and has_bare_newline(variant)
        assert answer.startswith(b"550 5.5.2" if refused else b"250"), (name, answer)
        expected[f"{name}/0"] += not refused
    client.socket.sendall(b"QUIT\r\n")
    assert [line[:3] for line in client.close()] == [b"221"]
    contents = [path.read_bytes() for path in system.instance.messages("bob") if path.name not in known]
    assert collections.Counter(map(subject, contents)) == +expected
    assert all(content.endswith(b"Subject: second\n\nx\n.\n") for content in contents), "something was lost"


def test_posted_with_sendmail(system: System) -> None:
    """Each variant, among lines that end in LF and among such that end in CR LF."""
    sinks = [system.sinks[domain] for domain in ("far.example", "lmtp.example")]
    before = [len(sink.messages) for sink in sinks]
    contents = {}
    for name, variant in VARIANTS.items():
        for number, line_end in enumerate((b"\n", b"\r\n")):
            head = b"Subject: %b/%d\r\n\r\nfirst" % (name.encode(), number)
            ends = (head + b"\0\0" + second(FAR) + b"\r\n.\r\n").replace(b"\r\n", line_end)
            contents[f"{name}/{number}"] = ends.replace(b"\0\0", variant)
    words = ["-i", "-f", "honest@a.example", "victim@far.example", "victim@lmtp.example"]
    done = post(system.instance, [(words, content) for content in contents.values()])
    assert set(done) == {(0, "")}
    for sink, start in zip(sinks, before, strict=True):
        messages = sink.wait(start + len(contents))[start:]
        assert collections.Counter(subject(data) for _, _, data in messages) == collections.Counter(list(contents))
        for sender, _, data in messages:
            assert sender == "honest@a.example"
            search(data)


def test_nothing_smuggled_reached_anybody(system: System) -> None:
    """Behind all that came before: only the policy "no" has let a second message in, by its own port."""
    assert system.instance.log.count(r"qmgr\[\d+\]: .*from=<smuggled@evil\.example>") == system.let_in
    for domain, sink in system.sinks.items():
        smuggled = [sender for sender, _, _ in sink.messages if "smuggled" in sender]
        assert len(smuggled) == (0 if domain == "chunked.example" else system.let_in), domain
