"""Two clients on one mailbox, in every order: each keeps a picture of it by the rules of RFC 9051 7, and is right.

What is checked: a message number never changes while a command uses numbers; EXISTS never goes down; what was told of
flags is what FETCH says; at the end both pictures are the mailbox.
"""

import re
import tempfile

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.imap import Client, FakeImapd, play

_EXISTS = re.compile(r"\* (\d+) EXISTS")
_EXPUNGE = re.compile(r"\* (\d+) EXPUNGE")
_FETCH = re.compile(r"\* (\d+) FETCH \((?:UID (\d+) )?FLAGS \(([^)]*)\)(?: UID (\d+))?")
_VANISHED = re.compile(r"\* VANISHED ([\d,:]+)")


class Picture:
    """As a client draws it: for each message its UID and flags, None while they are not known."""

    def __init__(self, client: Client, qresync: bool) -> None:
        self.client = client
        self.qresync = qresync
        self.messages: list[tuple[int | None, frozenset[str] | None]] = []

    async def do(self, command: str) -> str:
        found = await self.client.do(command)
        self.take(found[:-1], numbers=command.startswith(("fetch", "store", "search")))
        return found[-1]

    def take(self, lines: list[str], *, numbers: bool = False) -> None:
        for line in lines:
            if match := _EXISTS.fullmatch(line):
                count = int(match[1])
                assert count >= len(self.messages), line
                self.messages += [(None, None)] * (count - len(self.messages))
            elif match := _EXPUNGE.fullmatch(line):
                assert not numbers and not self.qresync, line
                del self.messages[int(match[1]) - 1]
            elif match := _VANISHED.fullmatch(line):
                assert not numbers and self.qresync, line
                gone = set()
                for part in match[1].split(","):
                    low, _, high = part.partition(":")
                    gone |= set(range(int(low), int(high or low) + 1))
                # RFC 7162: with QRESYNC a client knows the UIDs of all messages that it was told of.
                self.messages = [message for message in self.messages if message[0] not in gone]
            elif match := _FETCH.match(line):
                number = int(match[1])
                assert 1 <= number <= len(self.messages), line
                uid = match[2] or match[4]
                known = self.messages[number - 1][0]
                if uid is not None and known is not None:
                    assert known == int(uid), line
                flags = frozenset(match[3].split()) - {"\\Recent"}
                self.messages[number - 1] = (int(uid) if uid else known, flags)

    async def store_silently(self, command: str) -> str:
        """What a client knows after STORE with .SILENT without being told; what is told is right already."""
        match = re.fullmatch(r"uid store (\d+):\* ([+-])flags.silent \((.*)\)", command)
        assert match is not None
        await self.learn()
        uids = [uid for uid, _ in self.messages if uid is not None]
        low, high = sorted((int(match[1]), max(uids, default=0)))
        answer = await self.do(command)
        for index, (uid, flags) in enumerate(self.messages):
            if uid is not None and flags is not None and uid in uids and low <= uid <= high:
                self.messages[index] = (uid, flags | {match[3]} if match[2] == "+" else flags - {match[3]})
        return answer

    async def learn(self) -> None:
        """Ask for what is not known (a client with QRESYNC does it at once)."""
        # What is told at the end of a FETCH may be of messages that are not known either.
        while any(None in message for message in self.messages):
            await self.do("fetch 1:* (uid flags)")


FLAGS = st.sampled_from(["\\Seen", "\\Deleted", "\\Flagged", "$Work", "work2"])
NUMBER = st.integers(1, 8)
STEP = st.tuples(
    st.integers(0, 1),
    st.one_of(
        st.just("noop"),
        st.just("expunge"),
        st.just("append"),
        st.builds("store {} {}flags ({})".format, NUMBER, st.sampled_from(["+", "-", ""]), FLAGS),
        st.builds("uid store {}:* {}flags.silent ({})".format, NUMBER, st.sampled_from(["+", "-"]), FLAGS),
        st.builds("fetch {} (flags)".format, NUMBER),
        st.builds("fetch {} (body.peek[])".format, NUMBER),
        st.builds("fetch {} (body[text])".format, NUMBER),
        st.builds("uid copy {}:* inbox".format, NUMBER),
        st.builds("uid move {} other".format, NUMBER),
        st.builds("uid expunge 1:{}".format, NUMBER),
        st.builds("search {} undeleted".format, NUMBER),
        st.just("idle"),
    ),
)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, min_size=1, max_size=25), st.booleans(), st.booleans())
def test_both_pictures_are_right(steps: list[tuple[int, str]], first: bool, second: bool) -> None:
    async def scene(server: FakeImapd) -> None:
        pictures = []
        for qresync in (first, second):
            client = await server.log_in("alice", "IMAP4rev2", *(["QRESYNC"] if qresync else []))
            pictures.append(Picture(client, qresync))
        await pictures[0].client.ok("create other")
        for _ in range(4):
            await pictures[0].client.append("inbox")
        for picture in pictures:
            await picture.do("select inbox")
            await picture.do("fetch 1:* (uid flags)")
        for who, command in steps:
            picture = pictures[who]
            if command == "append":
                found = await picture.client.append("inbox", flags="(\\Draft)")
                picture.take(found[:-1])
            elif command == "idle":
                picture.client.write(b"i idle\r\n")
                picture.take((await picture.client.until("+"))[:-1])
                picture.take(await picture.client.quiet())
                picture.client.write(b"done\r\n")
                picture.take((await picture.client.lines("i"))[:-1])
            else:
                silent = ".silent" in command
                answer = await (picture.store_silently(command) if silent else picture.do(command))
                assert answer.startswith(("OK", "BAD There is no message", "NO")), (command, answer)
            if picture.qresync:
                await picture.learn()
        real = Picture(await server.log_in("alice", "IMAP4rev2"), False)
        await real.do("examine inbox")
        await real.do("fetch 1:* (uid flags)")
        for picture in pictures:
            await picture.do("noop")
            told = list(picture.messages)
            await picture.learn()
            assert picture.messages == real.messages
            for before, after in zip(told, real.messages, strict=True):
                assert before[0] in (None, after[0]) and before[1] in (None, after[1])

    with tempfile.TemporaryDirectory() as directory:
        play(directory, scene)
