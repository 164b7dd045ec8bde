"""AUTHENTICATE (RFC 9051 6.2.2, RFC 4959): the exchange between the client and auth."""

import binascii
from typing import TYPE_CHECKING

from tubepost.common.imap import arguments
from tubepost.common.imap.errors import BadCommand
from tubepost.common.imap.reader import Command

from tubepost.common.wire import auth

from tubepost.services.imapd.commands.login import finish
from tubepost.services.imapd.replies import No, Ok

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session


async def authenticate(session: "Session", command: Command) -> Ok:
    wanted = arguments.authenticate(session.scanner(command))
    offered = await session.server.auth.offer(session.asker)
    if wanted.mechanism not in offered:
        code = b"PRIVACYREQUIRED" if not session.asker.tls and session.server.tls.offered else b"CANNOT"
        raise No("That mechanism is not offered on this connection", code)
    exchange = session.server.auth.exchange(session.asker)
    try:
        answer = await exchange.begin(wanted.mechanism, wanted.initial)
        while isinstance(answer, auth.Challenge):
            answer = await exchange.go_on(await _ask(session, answer.data))
        if isinstance(answer, auth.Success) and answer.data is not None:
            # RFC 9051 6.2.2: the server's last word goes as a challenge, answered by an empty line.
            await _ask(session, answer.data)
    except BaseException:
        exchange.abandon()
        raise
    return await finish(session, answer, wanted.mechanism)


async def _ask(session: "Session", challenge: bytes) -> bytes:
    """Raises BadCommand when the client cancels or sends what is no base64, Gone."""
    session.reader.expect_line()
    session.send(b"+ " + binascii.b2a_base64(challenge, newline=False) + b"\r\n")
    session.flush()
    event = await session.next_event()
    assert event is not None
    answer = arguments.sasl_line(session.line_of(event))
    if answer is None:
        raise BadCommand("Authentication cancelled")
    return answer
