"""Commands made of the right words in the wrong order: whatever comes, it is answered, never by "internal error"."""

import tempfile

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.imap import FakeImapd, play

# fmt: off
VERBS = [
    "noop", "check", "close", "unselect", "expunge", "select", "examine", "create", "delete", "rename", "subscribe",
    "unsubscribe", "list", "lsub", "status", "append", "fetch", "store", "copy", "move", "search", "sort", "thread",
    "enable", "id", "namespace", "getquota", "getquotaroot", "setquota", "setacl", "deleteacl", "getacl", "listrights",
    "myrights", "getmetadata", "setmetadata", "notify", "genurlauth", "urlfetch", "resetkey", "replace", "esearch",
    "cancelupdate", "capability",
]
WORDS = [
    "inbox", "INBOX/x", "Work", "user/bob@example.test", "user/bob@example.test/Team", "user/", "user/nobody", "a/b/c",
    '""', '"*"', "%", "*", "$", "1", "1:*", "2,4:3", "0", "4294967295", "99999999999", "(flags)", "(uid body.peek[])",
    "body[1.2.mime]", "body[header.fields (to)]", "binary[1]", "binary.size[1]", "all", "full", "modseq", "envelope",
    "bodystructure", "preview", "(changedsince 1)", "(changedsince 1 vanished)", "(partial -1:-10)",
    "(unchangedsince 1)", "+flags", "-flags.silent", "flags", "(\\Seen)", "(\\Deleted $x)", "()", "(", ")", "[", "]",
    "nil", "(messages unseen size highestmodseq)", "return (count)", "return (save)", "return (min max all)",
    "return (update)", "return (partial 1:2)", "undeleted", "subject", "x", "not", "or", "uid", "before", "1-Jan-2024",
    "larger", "10", "text", "body", "fuzzy", "modseq 1", "utf-8", "us-ascii", "(reverse arrival)", "(subject)",
    "references", "refs", "(subscribed)", "(recursivematch subscribed)", "(special-use)",
    "return (children myrights status (messages) metadata (/shared/comment))", "/private/comment", "/shared/x",
    '(/private/comment "x")', "(/shared/comment NIL)", "(depth 1)", "bob", "anyone", "-bob", "lrs", "+te", "-a",
    "lrswipkxtea", "set", "none", "status", "(selected (messagenew (uid flags) messageexpunge))",
    "(personal (mailboxname subscriptionchange))", "(subtree Work (messagenew messageexpunge flagchange))",
    "(selected-delayed none)", "imap://alice@h/INBOX/;uid=1;urlauth=anonymous INTERNAL", "/INBOX/;UID=1/;SECTION=1",
    'CATENATE (URL "/INBOX/;UID=1")', "qresync", "condstore", "uidonly", "imap4rev2", "utf8=accept", "metadata",
    "(qresync (1 1))", "(qresync (1 1 1:9 (1,2 1,2)))", "(condstore)", "(use (\\Trash))", "in (mailboxes inbox)",
    "in (personal)", '"17-Jul-1996 02:44:25 -0700"', "{0+}\r\n", "{3+}\r\nabc", "~{4+}\r\na\0b\n", "(storage 1)",
]
# fmt: on
COMMAND = st.builds(
    lambda uid, verb, words: " ".join([*(["uid"] if uid else []), verb, *words]).encode("latin-1"),
    st.booleans(),
    st.sampled_from(VERBS),
    st.lists(st.one_of(st.sampled_from(WORDS), st.text('ab"\\(){}[]*% \t\x01\x7f\xff&+-', max_size=4)), max_size=5),
)


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.lists(COMMAND, min_size=5, max_size=40))
def test_everything_is_answered(commands: list[bytes]) -> None:
    async def scene(server: FakeImapd) -> None:
        bob = await server.log_in("bob")
        await bob.ok("create Team")
        await bob.append("Team")
        await bob.ok("setacl Team alice lrswi")
        alice = await server.log_in("alice")
        await alice.ok("create Work")
        for _ in range(3):
            await alice.append("inbox")
        await alice.ok("select inbox")
        for number, command in enumerate(commands):
            alice.write(b"x%d %b\r\ny%d noop\r\n" % (number, command, number))
            found = await alice.lines(f"y{number}")
            # A literal may have taken the NOOP for its own, or be waited for: neither happens with "+" and its octets.
            assert found[-1].startswith(f"y{number} OK"), (command, found)
            assert not any("SERVERBUG" in line or "UNAVAILABLE" in line for line in found), (command, found)
            answers = [line for line in found[:-1] if line.startswith((f"x{number} ", "* BAD"))]
            assert answers, (command, found)
            if b"\n" in command or any("BYE" in line for line in found):
                continue
            assert len(answers) == 1, (command, found)

    with tempfile.TemporaryDirectory() as directory:
        play(directory, scene, imapd_bad_command_limit="100000")
