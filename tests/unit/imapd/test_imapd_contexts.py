"""A client that keeps results by what it is told (RFC 5267 4.3) must have what a new search would find."""

import random
import re
from pathlib import Path

import pytest

from tests.fakes.imap import Client, FakeImapd, play

_UPDATE = re.compile(r'\* ESEARCH \(TAG "(\w+)"\)( UID)? (.*)')
_PAIRS = re.compile(r"(ADDTO|REMOVEFROM) \(([^)]*)\)")

SEARCHES = [
    "uid search return (update all) flagged",
    "search return (update all) flagged not deleted",
    "uid sort return (update all) (subject reverse date) utf-8 flagged",
    "sort return (update all) (reverse subject) utf-8 not seen",
    "uid search return (update all) or text special deleted",
]


def numbers(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition(":")
        found += range(int(low), int(high or low) + 1)
    return found


class Kept:
    """One result, in message numbers or UIDs."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.uid = command.startswith("uid")
        self.sorted = "sort" in command
        self.members: list[int] = []

    def update(self, name: str, value: str) -> None:
        words = value.split()
        for position, text in zip(map(int, words[::2]), words[1::2], strict=True):
            some = numbers(text)
            if name == "ADDTO":
                assert not set(some) & set(self.members)
                if position:
                    assert position <= len(self.members) + 1
                    self.members[position - 1 : position - 1] = some
                else:
                    assert not self.sorted
                    self.members = sorted((*self.members, *some))
            elif position:
                assert self.members[position - 1 : position - 1 + len(some)] == some
                del self.members[position - 1 : position - 1 + len(some)]
            else:
                assert set(some) <= set(self.members)
                self.members = [one for one in self.members if one not in some]

    def expunge(self, number: int) -> None:
        if not self.uid:
            # RFC 5267 4.3.4: it was told before.
            assert number not in self.members
            self.members = [one - (one > number) for one in self.members]


async def follow(client: Client, kept: dict[str, Kept], command: str) -> None:
    for line in await client.ok(command):
        if match := re.fullmatch(r"\* (\d+) EXPUNGE", line):
            for one in kept.values():
                one.expunge(int(match[1]))
        elif match := _UPDATE.fullmatch(line):
            one = kept[match[1]]
            assert bool(match[2]) == one.uid
            for name, value in _PAIRS.findall(match[3]):
                one.update(name, value)


@pytest.mark.parametrize("seed", (0, 1, 51, 86, 119))
def test_kept_results_are_what_a_new_search_finds(tmp_path: Path, seed: int) -> None:
    random_ = random.Random(seed)

    def message() -> str:
        return (
            f"Subject: {random_.choice(['a', 'b', 'Re: a', 'c'])}\r\n"
            f"Date: Mon, {random_.randint(1, 28)} Nov 2025 12:00:00 +0000\r\n\r\n"
            f"{random_.choice(['special', 'plain'])}\r\n"
        )

    def flags() -> str:
        return " ".join(random_.sample(["\\Seen", "\\Flagged", "\\Deleted"], random_.randint(0, 2)))

    async def scene(server: FakeImapd) -> None:
        client, other = await server.log_in("alice"), await server.log_in("alice")
        for _ in range(8):
            await other.append("INBOX", message(), f"({flags()})")
        await client.ok("select inbox")
        await other.ok("select inbox")
        kept: dict[str, Kept] = {}
        for command in SEARCHES:
            one = Kept(command)
            found = await client.ok(command)
            shown = found[0].partition(" ALL ")[2]
            one.members = numbers(shown) if shown else []
            kept[f"t{client._tag}"] = one
        for _ in range(12):
            for _ in range(random_.randint(1, 3)):
                match random_.randint(0, 5):
                    case 0:
                        await other.append("INBOX", message(), f"({flags()})")
                    case 1:
                        await other.do("expunge")
                    case _:
                        sign = random_.choice("+-")
                        await other.do(f"store {random_.randint(1, 8)} {sign}flags ({flags()})")
            # Some commands may not tell of removals: their numbers stay what they were.
            await follow(
                client, kept, random_.choice(["noop", "noop", "fetch 1 flags", "search all", "uid fetch 1 uid"])
            )
        await follow(client, kept, "noop")
        for one in kept.values():
            found = await client.ok(one.command.replace("(update all)", "()"))
            shown = found[0].partition(" ALL ")[2]
            assert one.members == (numbers(shown) if shown else []), one.command

    play(tmp_path, scene)
