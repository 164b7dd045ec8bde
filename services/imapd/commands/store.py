"""STORE and UID STORE (RFC 9051 6.4.6, RFC 7162 3.1.3)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tubepost.common.imap import arguments
from tubepost.common.imap.reader import Command
from tubepost.common.imap.write import compact

from tubepost.services.imapd import updates
from tubepost.services.imapd.replies import No, Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

# More than this at once goes to a thread.
_FEW = 500
_RIGHTS = {"\\Seen": "s", "\\Deleted": "t"}


async def store(session: "Session", command: Command) -> Ok:
    uid = command.verb.startswith(b"UID ")
    selected = session.selected
    assert selected is not None
    request = arguments.store(session.scanner(command))
    selected.writable()
    if request.unchanged_since is not None:
        # RFC 7162 3.1.3: using it enables CONDSTORE.
        session.enabled.add(b"CONDSTORE")
    folder = selected.folder
    async with selected.mailbox.lock:
        uids = selected.resolve(request.numbers, uid)
    flags = [flag.decode("ascii") for flag in request.flags]
    for flag in flags:
        selected.need(_RIGHTS.get(flag, "w"))
    if request.mode == "=" and not flags:
        selected.need("wst")
    if len(flags) > session.server.config.imapd_keyword_limit:
        raise No("Too many flags at once", b"LIMIT")
    if len(uids) > _FEW:
        done = await selected.mailbox.work(folder.store, uids, request.mode, flags, request.unchanged_since)
    else:
        async with selected.mailbox.lock:
            done = folder.store(uids, request.mode, flags, request.unchanged_since)
    async with selected.mailbox.lock:
        updates.tell_keywords(session, selected)
        if request.silent:
            _note_silently(session, done.changed)
        else:
            _tell(session, uids, done.changed, set(done.modified))
    if done.changed:
        session.server.changed(selected.mailbox, (folder.id, folder.name))
        session.server.flush_soon(selected)
    if done.modified:
        failed = done.modified if uid else [selected.view.number(number) for number in done.modified]
        return Ok("Some messages had changed meanwhile", b"MODIFIED %b" % compact(failed))
    return Ok()


def _note_silently(session: "Session", changed: list[tuple[int, int, int]]) -> None:
    """RFC 9051 6.4.6 .SILENT; RFC 7162 3.1.3: with CONDSTORE the new modification sequence is told all the same."""
    selected = session.selected
    assert selected is not None
    condstore = b"CONDSTORE" in session.enabled
    lines = []
    for uid, flagset, modseq in changed:
        number = selected.view.flag(uid, flagset)
        if condstore and number:
            if b"UIDONLY" in session.enabled:
                lines.append(b"* %d UIDFETCH (MODSEQ (%d))\r\n" % (uid, modseq))
            else:
                lines.append(b"* %d FETCH (UID %d MODSEQ (%d))\r\n" % (number, uid, modseq))
    session.send(b"".join(lines))


def _tell(session: "Session", uids: Sequence[int], changed: list[tuple[int, int, int]], modified: set[int]) -> None:
    """The value of each message that was named, also where it did not change (RFC 9051 6.4.6)."""
    selected = session.selected
    assert selected is not None
    rows = {row[0]: row for row in changed}
    others = [uid for uid in uids if uid not in rows and uid not in modified]
    for row in selected.folder.rows(("uid", "flagset", "modseq"), others):
        rows[row[0]] = row
    updates.tell_flags(session, selected, [rows[uid] for uid in sorted(rows)], always=True)
