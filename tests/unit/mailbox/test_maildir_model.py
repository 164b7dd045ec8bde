"""A model mailbox against the store: two processes and a stranger at the same files, in any order.

Stated: whatever the three do, each message is there once until somebody removes it; both processes agree after a sync;
UIDs ascend in the order in which messages came and never change what they mean; counters are what counting gives.
"""

import os
import shutil
import tempfile
import time

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.folder import Folder

_FLAGS = st.sampled_from(["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "$Forwarded", "one", "two"])
_LETTERS = {"\\Seen": "S", "\\Flagged": "F", "\\Answered": "R"}


class Mailbox(RuleBasedStateMachine):
    """Each message has a body of its own, by which the model knows it."""

    who = st.integers(0, 1)
    names = Bundle("names")

    @initialize()
    def begin(self) -> None:
        self.root = tempfile.mkdtemp(prefix="model-")
        self.accounts = [MaildirAccount(self.root), MaildirAccount(self.root)]
        self.model: dict[str, set[str]] = {}
        self.uids: dict[str, int] = {}
        self.number = 0
        self.clock = 1

    def inbox(self, who: int) -> Folder:
        return self.accounts[who].folder("INBOX")

    def age(self) -> None:
        """Directories changed long ago, each time at another time: no test waits for a clock's tick."""
        for part in ("new", "cur"):
            self.clock += 1
            stamp = time.time_ns() - 10_000_000_000 + self.clock
            os.utime(f"{self.root}/{part}", ns=(stamp, stamp))

    def look(self, who: int) -> dict[str, tuple[int, set[str]]]:
        """Body to (uid, flags), as this process sees it after a sync."""
        self.age()
        inbox = self.inbox(who)
        inbox.sync()
        found: dict[str, tuple[int, set[str]]] = {}
        for uid, flagset in inbox.uids():
            fd = inbox.open(uid)
            body = os.read(fd, 1000).split(b"\n\n")[1].strip().decode()
            os.close(fd)
            assert body not in found, f"{body} is there twice"
            found[body] = uid, set(self.accounts[who].flagsets.flags(flagset))
        return found

    def new_name(self) -> str:
        self.number += 1
        return f"m{self.number}"

    @rule(target=names, who=who, flags=st.sets(_FLAGS, max_size=3))
    def append(self, who: int, flags: set[str]) -> str:
        name = self.new_name()
        inbox = self.inbox(who)
        draft = inbox.draft()
        draft.write(b"Subject: x\r\n\r\n" + name.encode() + b"\r\n")
        draft.finish()
        draft.set(flags)
        inbox.append([draft])
        self.model[name] = set(flags)
        return name

    @rule(target=names, place=st.sampled_from(["new", "cur"]))
    def stranger_delivers(self, place: str) -> str:
        name = self.new_name()
        file = f"{1_700_000_000 + self.number}.{name}.host" + (":2,S" if place == "cur" else "")
        with open(f"{self.root}/{place}/{file}", "w") as out:
            out.write(f"Subject: y\n\n{name}\n")
        self.model[name] = {"\\Seen"} if place == "cur" else set()
        return name

    @rule(who=who, name=names, mode=st.sampled_from("+-="), flags=st.sets(_FLAGS, max_size=3))
    def store(self, who: int, name: str, mode: str, flags: set[str]) -> None:
        seen = self.look(who)
        if name not in self.model:
            assert name not in seen
            return
        self.inbox(who).store([seen[name][0]], mode, flags)
        before = self.model[name]
        self.model[name] = before | flags if mode == "+" else before - flags if mode == "-" else set(flags)

    @rule(who=who)
    def flush(self, who: int) -> None:
        while self.inbox(who).flush():
            pass

    @rule(who=who)
    def settle(self, who: int) -> None:
        self.inbox(who).settle_new()

    @rule(name=names, flag=st.sampled_from(sorted(_LETTERS)))
    def stranger_flags(self, name: str, flag: str) -> None:
        """Adds a flag in the file's name, as mutt does it; what is in new goes to cur."""
        found = self.find(name)
        if found is None:
            return
        place, file = found
        base, _, letters = file.partition(":2,")
        if _LETTERS[flag] in letters:
            return
        letters = "".join(sorted(letters + _LETTERS[flag]))
        os.rename(f"{self.root}/{place}/{file}", f"{self.root}/cur/{base}:2,{letters}")
        self.model[name].add(flag)

    @rule(name=names)
    def stranger_removes(self, name: str) -> None:
        found = self.find(name)
        if found is not None:
            os.unlink(f"{self.root}/{found[0]}/{found[1]}")
            del self.model[name]

    def find(self, name: str) -> tuple[str, str] | None:
        if name not in self.model:
            return None
        for place in ("new", "cur"):
            for file in os.listdir(f"{self.root}/{place}"):
                with open(f"{self.root}/{place}/{file}") as text:
                    if text.read().split("\n\n")[1].strip() == name:
                        return place, file
        raise AssertionError(f"{name} is lost")

    @rule(who=who)
    def expunge(self, who: int) -> None:
        seen = self.look(who)
        gone = set(self.inbox(who).expunge())
        wanted = {name for name, flags in self.model.items() if "\\Deleted" in flags}
        assert gone == {seen[name][0] for name in wanted}
        for name in wanted:
            del self.model[name]

    @rule(who=who, name=names)
    def copy_and_remove(self, who: int, name: str) -> None:
        """Within the mailbox, so that it is there once again, under another UID."""
        seen = self.look(who)
        if name not in self.model:
            return
        uid = seen[name][0]
        old, new = self.inbox(who).move([uid], self.inbox(who))
        assert old == [uid] and new[0] > uid
        self.uids[name] = new[0]

    @rule(who=who)
    def reopen(self, who: int) -> None:
        self.accounts[who].close()
        self.accounts[who] = MaildirAccount(self.root)

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "accounts"):
            return
        first, second = self.look(0), self.look(1)
        assert first == second
        assert {name: flags for name, (_, flags) in first.items()} == self.model
        for name, (uid, _) in first.items():
            assert self.uids.setdefault(name, uid) == uid, "a UID has changed its meaning"
        status = self.inbox(0).status()
        assert status.messages == len(self.model)
        assert status.unseen == sum("\\Seen" not in flags for flags in self.model.values())
        assert status.deleted == sum("\\Deleted" in flags for flags in self.model.values())
        assert status.uidnext > max((uid for uid, _ in first.values()), default=0)

    def teardown(self) -> None:
        for account in getattr(self, "accounts", ()):
            account.close()
        if hasattr(self, "root"):
            shutil.rmtree(self.root)


TestMailbox = Mailbox.TestCase
TestMailbox.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
