"""STORE and UID STORE (RFC 9051 6.4.6, RFC 7162 3.1.3)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tubepost.common.imap import arguments
from tubepost.common.imap.reader import Command
from tubepost.common.imap.write import compact

from tubepost.common.mailbox.values import SYSTEM, Stored

from tubepost.services.imapd import limits, updates
from tubepost.services.imapd.replies import No, Ok
from tubepost.services.imapd.rights import permitted, right_for
from tubepost.services.imapd.selected import Selected

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

# More than this at once goes to a thread.
_FEW = 500


async def store(session: "Session", command: Command) -> Ok:
    uid = command.verb.startswith(b"UID ")
    selected = session.selected
    assert selected is not None
    request = arguments.store(session.scanner(command))
    selected.writable()
    if request.unchanged_since is not None:
        # RFC 7162 3.1.3: using it enables CONDSTORE.
        session.enable_condstore()
    folder = selected.folder
    async with selected.mailbox.lock:
        uids, limited = limits.cut(session, selected.resolve(request.numbers, uid))
    flags = [flag.decode("ascii") for flag in request.flags]
    may = permitted(flags, selected.rights)
    if (flags and not may) or (not flags and request.mode == "="):
        # RFC 4314 4: refused only when nothing of it may be done.
        selected.need("".join({right_for(flag) for flag in flags}) or "wst")
    if len(flags) > session.server.config.imapd_keyword_limit:
        raise No("Too many flags at once", b"LIMIT")
    if request.mode != "-":
        await selected.mailbox.quick(limits.check_keywords, session, folder, may)
    since = request.unchanged_since
    if request.mode == "=" and not all(right in selected.rights for right in "swt"):
        done = await selected.mailbox.work(_replace_permitted, selected, uids, may, since)
    elif len(uids) > _FEW:
        done = await selected.mailbox.work(folder.store, uids, request.mode, may, since)
    else:
        done = await selected.mailbox.quick(folder.store, uids, request.mode, may, since)
    async with selected.mailbox.lock:
        updates.tell_keywords(session, selected)
        if request.silent:
            _note_silently(session, done.changed, request.mode, may)
            missing = 0
        else:
            told = _tell(session, uids, done.changed, set(done.modified))
            told.update(done.modified)
            gone = [found for found in uids if found not in told]
            _tell_as_wanted(session, gone, request.mode, may)
            missing = len(gone)
    if done.changed:
        session.server.changed(selected.mailbox, (folder.id, folder.name))
        session.server.flush_soon(selected)
    if done.modified:
        # RFC 7162 3.1.3: as the client named them.
        failed = done.modified if uid else [selected.view.number(number) for number in done.modified]
        if limited:
            session.send(b"* NO [%b] Not all messages were looked at\r\n" % limited)
        return Ok("Some messages had changed meanwhile", b"MODIFIED %b" % compact(failed))
    if limited:
        return Ok("Not all messages were changed", limited)
    # OK all the same: clients take a NO for STORE badly (RFC 4314 4 says so of another cause).
    return Ok("Some messages were removed meanwhile", b"EXPUNGEISSUED") if missing else Ok()


def _replace_permitted(selected: Selected, uids: Sequence[int], flags: list[str], since: int | None) -> Stored:
    """RFC 4314 4: flags that the user may not change stay as they are."""
    folder = selected.folder
    first = folder.store(uids, "+", flags, since)
    others = permitted([*SYSTEM, *folder.keywords()], selected.rights)
    left = set(first.modified)
    rest = folder.store([uid for uid in uids if uid not in left], "-", [flag for flag in others if flag not in flags])
    changed = {row[0]: row for row in (*first.changed, *rest.changed)}
    return Stored([changed[uid] for uid in sorted(changed)], first.modified)


def _note_silently(session: "Session", changed: list[tuple[int, int, int]], mode: str, flags: Sequence[str]) -> None:
    """RFC 9051 6.4.6 .SILENT; RFC 7162 3.1.3: with CONDSTORE the new modification sequence is told all the same.

    A message that another client has changed as well is told at the end of the command: this client cannot know.
    """
    selected = session.selected
    assert selected is not None
    condstore = b"CONDSTORE" in session.enabled
    lines = []
    view, sets = selected.view, selected.mailbox.account.flagsets
    given = {sets.spell(flag) for flag in flags}
    expected: dict[tuple[int, int], bool] = {}
    for uid, flagset, modseq in changed:
        number = view.number(uid)
        if number:
            pair = view.flagsets[number - 1], flagset
            if pair not in expected:
                before = set(sets.flags(pair[0]))
                after = before | given if mode == "+" else before - given if mode == "-" else given
                expected[pair] = after == set(sets.flags(flagset))
            number = view.flag(uid, flagset) if expected[pair] else 0
        if condstore and number:
            if b"UIDONLY" in session.enabled:
                lines.append(b"* %d UIDFETCH (MODSEQ (%d))\r\n" % (uid, modseq))
            else:
                lines.append(b"* %d FETCH (UID %d MODSEQ (%d))\r\n" % (number, uid, modseq))
    session.send(b"".join(lines))


def _tell(session: "Session", uids: Sequence[int], changed: list[tuple[int, int, int]], modified: set[int]) -> set[int]:
    """The value of each message that was named, also where it did not change (RFC 9051 6.4.6).

    Returns the UIDs of those that are there.
    """
    selected = session.selected
    assert selected is not None
    rows = {row[0]: row for row in changed}
    others = [uid for uid in uids if uid not in rows and uid not in modified]
    for row in selected.folder.rows(("uid", "flagset", "modseq"), others):
        rows[row[0]] = row
    updates.tell_flags(session, selected, [rows[uid] for uid in sorted(rows)], always=True)
    return set(rows)


def _tell_as_wanted(session: "Session", gone: Sequence[int], mode: str, flags: Sequence[str]) -> None:
    """Of messages that another client has removed, and this one was not told of: as if they were still there.

    RFC 2180 4.2: what the client must be told comes with EXPUNGE; until then its picture of them is to hold.
    """
    selected = session.selected
    assert selected is not None
    if b"UIDONLY" in session.enabled:
        return
    # RFC 7162 3.2: every FETCH has one; that of the last news does no harm to what is about to go.
    extra = b" MODSEQ (%d)" % selected.seen_modseq if b"CONDSTORE" in session.enabled else b""
    with_uid = session.with_uid or b"QRESYNC" in session.enabled or b"IMAP4REV2" in session.enabled
    view, sets = selected.view, selected.mailbox.account.flagsets
    given = [sets.spell(flag) for flag in flags]
    for uid in gone:
        number = view.number(uid)
        if not number:
            continue
        before = sets.flags(view.flagsets[number - 1])
        kept = [flag for flag in before if flag not in given] if mode != "=" else []
        text = " ".join(kept if mode == "-" else [*kept, *given]).encode()
        if with_uid:
            session.send(b"* %d FETCH (UID %d FLAGS (%b)%b)\r\n" % (number, uid, text, extra))
        else:
            session.send(b"* %d FETCH (FLAGS (%b)%b)\r\n" % (number, text, extra))
