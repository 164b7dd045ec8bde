"""Plays the examples of RFCs (tests/transcripts/rfc/*.imap) against real imapd sessions.

A file holds scenes; ``== 6.3.2 a mailbox is selected`` opens one, each with a server of its own. Then, a line each:

``C: text``         the client sends this and CRLF
``S: text``         the server must say this. The lines up to a tagged answer may come in any order, none may be missing
                    and none may be too many; a line that begins with blanks belongs to the one above, after a blank
``S| text``         belongs to the line above, after CRLF: what is in a literal
``S*``              further untagged lines may come here: those that an example leaves out
``@ ...``           sets the scene: see ``Scene.prepare``
``#``               a comment

Of a line that ends in words for people (OK, NO, BAD, BYE, + and more than one word) the words are not compared, and a
response code only where the example has one. In ``S:`` ``<n>`` is any number, ``<*>`` anything, ``<name>`` a value that
must be the same wherever the name comes again, in ``C:`` too.
"""

import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.imap import Client, FakeImapd, play

FOLDER = Path(__file__).parents[1] / "transcripts" / "rfc"
_PLACE = re.compile(r"<([a-z][a-z0-9]*|\*)>")
_MESSAGE = "Subject: number 1\r\n\r\nbody\r\n"
_LITERAL = f" {{{len(_MESSAGE)}+}}\r\n{_MESSAGE}"
_STATUS = re.compile(r"(\S+ (?:OK|NO|BAD|BYE|PREAUTH))(?: (\[[^\]]*\]))?(?: .*)?\Z", re.DOTALL)


@dataclass(slots=True)
class Scene:
    """One example. ``steps``: pairs of kind and text; ``where`` names file and title."""

    where: str
    settings: dict[str, str] = field(default_factory=dict)
    steps: list[tuple[str, str, int]] = field(default_factory=list)


def read_scenes(path: Path) -> list[Scene]:
    scenes: list[Scene] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("== "):
            scenes.append(Scene(f"{path.stem} {line[3:]}"))
            continue
        steps = scenes[-1].steps
        if line.startswith("@ config "):
            name, _, value = line.removeprefix("@ config ").partition("=")
            scenes[-1].settings[name.strip()] = value.strip()
        elif line[0].isspace():
            kind, text, first = steps[-1]
            steps[-1] = (kind, f"{text} {line.strip()}", first)
        elif line.startswith(("S|", "@|")):
            kind, text, first = steps[-1]
            steps[-1] = (kind, f"{text}\r\n{line[3:]}", first)
        elif line[:2] in ("C:", "S:", "S*", "@ "):
            steps.append((line[0] if line[1] != "*" else "*", line[3:] if line[1] == ":" else line[2:], number))
        else:
            raise ValueError(f"{path.name}:{number}: what is {line!r}?")
    return scenes


class _Player:
    def __init__(self, server: FakeImapd, scene: Scene) -> None:
        self.server = server
        self.scene = scene
        self.client: Client | None = None
        self.others: dict[str, Client] = {}
        self.values: dict[str, str] = {}
        self.tags: set[str] = set()

    async def play(self) -> None:
        steps = self.scene.steps
        place = 0
        while place < len(steps):
            kind, text, number = steps[place]
            place += 1
            if kind == "@":
                await self.prepare(text)
            elif kind == "C":
                await self.say(text)
            else:
                block = [(kind, text)]
                while place < len(steps) and steps[place][0] in "S*" and not self.is_tagged(block[-1]):
                    block.append(steps[place][:2])
                    place += 1
                await self.hear(block, f"{self.scene.where} (line {number})")
        if self.client is not None:
            left = await self.client.quiet()
            assert not left, f"{self.scene.where}: also came {left}"

    async def example(self) -> Client:
        if self.client is None:
            self.client = await self.server.log_in("alice")
        return self.client

    async def say(self, text: str) -> None:
        client = await self.example()
        data = _PLACE.sub(lambda found: self.values.get(found[1], found[0]), text)
        word = data.split(" ", 1)[0]
        if word:
            self.tags.add(word)
        client.write(data.encode() + b"\r\n")

    def is_tagged(self, step: tuple[str, str]) -> bool:
        return step[0] == "S" and step[1].split(" ", 1)[0] in self.tags - {"*", "+"}

    async def hear(self, block: list[tuple[str, str]], where: str) -> None:
        client = await self.example()
        expected = [text for kind, text in block if kind == "S"]
        more = any(kind == "*" for kind, _ in block)
        got: list[str] = []
        tag = expected[-1].split(" ", 1)[0] if expected and self.is_tagged(block[-1]) else ""
        try:
            while not (got[-1].startswith(f"{tag} ") if tag and got else not tag and len(got) == len(expected)):
                got.append((await client.line()).decode("utf-8", "surrogateescape"))
                if tag and got[-1].split(" ", 1)[0] in self.tags - {tag, "*", "+"}:
                    break
        except (TimeoutError, EOFError) as error:
            raise AssertionError(f"{where}: {type(error).__name__} after {got}, expected {expected}") from None
        left = list(got)
        if tag:
            assert self.matches(expected[-1], left.pop()), f"{where}: got {got}, expected {expected}"
            expected = expected[:-1]
        for text in expected:
            match = next((line for line in left if self.matches(text, line)), None)
            assert match is not None, f"{where}: {text!r} is not in {got}"
            left.remove(match)
        assert more or not left, f"{where}: not expected: {left} in {got}"

    def matches(self, text: str, line: str) -> bool:
        if text.startswith("+ ") and " " in text[2:]:
            return line.startswith("+ ")
        status = _STATUS.match(text)
        if status is not None:
            found = _STATUS.match(line)
            if found is None:
                return False
            text = status[1] + (f" {status[2]}" if status[2] else "")
            line = found[1] + (f" {found[2]}" if status[2] and found[2] else "")
        pattern = ""
        end = 0
        names: set[str] = set()
        for place in _PLACE.finditer(text):
            pattern += re.escape(text[end : place.start()])
            end = place.end()
            name = place[1]
            if name == "*":
                pattern += ".*"
            elif name == "n":
                pattern += r"\d+"
            elif name in self.values:
                pattern += re.escape(self.values[name])
            elif name in names:
                pattern += f"(?P={name})"
            else:
                names.add(name)
                pattern += rf"(?P<{name}>[^\s()\[\]]+)"
        found = re.fullmatch(pattern + re.escape(text[end:]), line, re.DOTALL)
        if found is not None:
            self.values.update(found.groupdict())
        return found is not None

    async def prepare(self, text: str) -> None:
        """What a scene may say after ``@``.

        ``connect``             the client of the example is not logged in
        ``login NAME CAPS...``  it is NAME (alice where nothing is said), and has enabled these
        ``mail MAILBOX N``      alice's mailbox has N messages more
        ``append MAILBOX FLAGS``  and one more, whose lines follow after ``@|``
        ``do COMMAND``          another client of alice does this; ``NAME do COMMAND`` one of somebody else.
                                ``{N}`` stands for a literal's announcement and CRLF is written ``\\r\\n``
        ``quota NAME BYTES MESSAGES``
        ``deflate``             from here on all is compressed, both ways
        """
        words = text.split()
        if words[0] == "deflate":
            self.deflate(await self.example())
        elif words[0] == "connect":
            self.client = await self.server.connect()
        elif words[0] == "login":
            self.client = await self.server.log_in(words[1], *words[2:])
        elif words[0] == "quota":
            self.server.limit(words[1], quota_bytes=int(words[2]), quota_messages=int(words[3]))
        elif words[0] == "mail":
            # Many at once (RFC 3502).
            left = int(words[2])
            while left > 0:
                some = min(left, int(self.scene.settings.get("imapd_message_limit", "50")))
                await (await self.other("alice")).ok(f"append {words[1]}" + _LITERAL * some)
                left -= some
        elif words[0] == "append":
            head, _, message = text.partition("\r\n")
            _, mailbox, *flags = head.split(" ", 2)
            assert (await (await self.other("alice")).append(mailbox, message + "\r\n", *flags))[-1].startswith("OK")
        elif words[0] == "do":
            await self.do("alice", text.partition("do ")[2])
        elif words[1] == "do":
            await self.do(words[0], text.partition(" do ")[2])
        else:
            raise ValueError(f"{self.scene.where}: what is {text!r}?")

    @staticmethod
    def deflate(client: Client) -> None:
        pack, unpack = zlib.compressobj(wbits=-15), zlib.decompressobj(wbits=-15)
        write, transport = client.write, client.transport
        sent = transport.write
        client.write = lambda data: write(pack.compress(data) + pack.flush(zlib.Z_SYNC_FLUSH))  # type: ignore[method-assign]
        transport.write = lambda data: sent(unpack.decompress(bytes(data)))  # type: ignore[method-assign]

    async def do(self, name: str, command: str) -> None:
        await (await self.other(name)).ok(
            _PLACE.sub(lambda found: self.values.get(found[1], found[0]), command).replace("\\r\\n", "\r\n")
        )

    async def other(self, name: str) -> Client:
        if name not in self.others:
            self.others[name] = await self.server.log_in(name)
        return self.others[name]


def play_scene(directory: object, scene: Scene) -> None:
    play(directory, lambda server: _Player(server, scene).play(), **scene.settings)
