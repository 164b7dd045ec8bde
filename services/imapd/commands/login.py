"""STARTTLS, LOGIN, UNAUTHENTICATE, and what follows a login."""

from typing import TYPE_CHECKING

from tubepost.common.imap import arguments
from tubepost.common.imap.reader import Command

from tubepost.common.wire import auth
from tubepost.common.system import log
from tubepost.common.mailbox.trouble import IndexTrouble
from tubepost.common.net.tls import HandshakeError
from tubepost.common.skeleton.conversation import Gone

from tubepost.services.imapd.capabilities import capabilities, may_login
from tubepost.services.imapd.commands.uses import make_folders
from tubepost.services.imapd.replies import Answered, No, Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

# RFC 5530 3: response codes for what auth says.
_CODES: dict[str, bytes] = {
    "credentials": b"AUTHENTICATIONFAILED",
    "disabled": b"AUTHORIZATIONFAILED",
    "scope": b"AUTHORIZATIONFAILED",
    "expired": b"EXPIRED",
    "plaintext": b"PRIVACYREQUIRED",
    "delayed": b"UNAVAILABLE",
    "temporary": b"UNAVAILABLE",
}


async def starttls(session: "Session", command: Command) -> Ok:
    """RFC 9051 6.2.1: what the client has sent behind it in the clear is thrown away."""
    arguments.nothing(session.scanner(command))
    if session.asker.tls:
        raise No("TLS is active already")
    if not session.server.tls.offered:
        raise No("TLS is not available")
    try:
        await session.start_server_tls(b"%b OK Begin TLS negotiation now\r\n" % command.tag)
    except HandshakeError:
        raise Gone from None
    raise Answered


async def login(session: "Session", command: Command) -> Ok:
    """RFC 9051 6.2.3, as the mechanism PLAIN."""
    name, password = arguments.login(session.scanner(command))
    await session.server.auth.offer(session.asker)
    if not may_login(session):
        raise No("No password may be sent on this connection: use STARTTLS", b"PRIVACYREQUIRED")
    if "\0" in name or "\0" in password:
        raise No("Invalid user name or password", b"AUTHENTICATIONFAILED")
    exchange = session.server.auth.exchange(session.asker)
    return await finish(session, await exchange.begin("PLAIN", f"\0{name}\0{password}".encode()), "LOGIN")


async def finish(session: "Session", answer: auth.Challenge | auth.Success | auth.Failure, method: str) -> Ok:
    """The end of an exchange. Raises No."""
    if isinstance(answer, auth.Failure):
        raise No(answer.text, _CODES.get(answer.cause, b""))
    if isinstance(answer, auth.Challenge):
        raise No("The mechanism asks for more than it may")
    server = session.server
    await session.log_in(answer.user)
    assert session.mailbox is not None
    account = session.mailbox.account
    try:
        async with session.mailbox.lock:
            furnished = not server.auto_folders or account.is_furnished
        if not furnished:
            await session.mailbox.work(make_folders, account, server.auto_folders)
    except (OSError, IndexTrouble) as error:
        log.warning(f"{session.who}: the folders that every account gets are not made: {error}")
    secured = " TLS" if session.asker.tls else ""
    by = f" by {answer.login}" if answer.login else ""
    log.info(f"{session.who}: logged in, method={method}{secured}{by}")
    return Ok("Logged in", f"CAPABILITY {' '.join(capabilities(session))}".encode())


async def unauthenticate(session: "Session", command: Command) -> Ok:
    """RFC 8437: another user may log in on the same connection."""
    arguments.nothing(session.scanner(command))
    log.info(f"{session.who}: unauthenticated")
    session.log_out()
    session.send(b"%b OK Unauthenticated\r\n" % command.tag)
    session.end_compression()
    raise Answered
