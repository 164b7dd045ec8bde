"""CAPABILITY, NOOP, CHECK, LOGOUT, ID, ENABLE, COMPRESS."""

from importlib.metadata import version
from typing import TYPE_CHECKING

from tubepost.common.imap import administration, arguments
from tubepost.common.imap.notification import Notify
from tubepost.common.imap.reader import Command
from tubepost.common.imap.write import string

from tubepost.common.system import log

from tubepost.services.imapd.capabilities import ENABLED, capabilities
from tubepost.services.imapd.commands.notify import METADATA_GROUP, watch
from tubepost.services.imapd.replies import Answered, No, Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

_VERSION = version("tubepost")
# For the log: what a client says of itself is not to fill it.
_ID_LIMIT = 100
# As RFC 9051 writes it; clients that compare are not all careful of case.
_SPELLED = {b"IMAP4REV2": b"IMAP4rev2"}


async def capability(session: "Session", command: Command) -> Ok:
    """RFC 9051 6.1.1."""
    arguments.nothing(session.scanner(command))
    await session.server.auth.offer(session.asker)
    session.send(f"* CAPABILITY {' '.join(capabilities(session))}\r\n".encode())
    return Ok()


async def noop(session: "Session", command: Command) -> Ok:
    """RFC 9051 6.1.2: the session tells what is new at the end of every command."""
    arguments.nothing(session.scanner(command))
    return Ok()


async def logout(session: "Session", command: Command) -> Ok:
    """RFC 9051 6.1.3."""
    arguments.nothing(session.scanner(command))
    session.send(b"* BYE Logging out\r\n")
    return Ok()


async def identify(session: "Session", command: Command) -> Ok:
    """ID (RFC 2971)."""
    fields = arguments.identity(session.scanner(command))
    said = ", ".join(f"{name}={value}" for name, value in fields.items() if value)[:_ID_LIMIT]
    if said and said != session.client_id:
        session.client_id = said
        log.info(f"{session.who}: ID {said}")
    values = {"name": "tubepost", "vendor": "tubepost"}
    if session.user is not None:
        values["version"] = _VERSION
    session.send(b"* ID (%b)\r\n" % b" ".join(b"%b %b" % (string(k), string(v)) for k, v in values.items()))
    return Ok()


async def enable(session: "Session", command: Command) -> Ok:
    """RFC 9051 6.3.1. What is not known is ignored; what is enabled stays so."""
    wanted = arguments.enable(session.scanner(command))
    fresh = [name for name in wanted if name in ENABLED and name not in session.enabled]
    session.enabled.update(fresh)
    if b"QRESYNC" in fresh:
        # RFC 7162 3.2.3: it includes CONDSTORE.
        session.enabled.add(b"CONDSTORE")
    if b"METADATA" in fresh and session.watching is None:
        # RFC 5464 4.4
        await watch(session, Notify(False, (METADATA_GROUP,)), between=False, filters=False)
    session.send(b"* ENABLED%b\r\n" % b"".join(b" %b" % _SPELLED.get(name, name) for name in fresh))
    if session.selected is not None and b"CONDSTORE" in session.enabled:
        session.send(b"* OK [HIGHESTMODSEQ %d] Highest\r\n" % session.selected.seen_modseq)
    return Ok()


async def compress(session: "Session", command: Command) -> Ok:
    """COMPRESS DEFLATE (RFC 4978). The tagged answer is the last in plain."""
    if administration.compress(session.scanner(command)) != b"DEFLATE":
        raise No("Only DEFLATE is known")
    if session.compressed:
        raise No("The connection is compressed already", b"COMPRESSIONACTIVE")
    session.send(b"%b OK DEFLATE active\r\n" % command.tag)
    session.compress()
    raise Answered
