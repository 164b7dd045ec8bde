"""What cleanup is told of a message besides its content."""

import time
from typing import TYPE_CHECKING, Literal

from tubepost.common.wire.cleanup import QUEUE_ID_MARK, Deposit
from tubepost.common.wire.envelope import Envelope, Recipient

from tubepost.services.smtpd import events, security
from tubepost.services.smtpd.origin import origin_of
from tubepost.services.smtpd.received import describe_security, format_received

if TYPE_CHECKING:
    from tubepost.services.smtpd.session import Session


_ENCODINGS: "dict[str, Literal['7bit', '8bit', 'binary']]" = {
    "7bit": "7bit",
    "8bit": "8bit",
    "binary": "binary",
}
_RETS: "dict[str, Literal['', 'FULL', 'HDRS']]" = {"": "", "FULL": "FULL", "HDRS": "HDRS"}


def deposit_of(session: "Session", mail: events.Mail, ascii_only: bool) -> Deposit:
    """``ascii_only``: the whole content is known to be."""
    machine, config, client = session.machine, session.config, session.client
    effects, recipients = session.evaluation.effects, machine.recipients
    local = time.localtime(session.arrival)
    protocol = security.protocol_name(
        machine.protocol,
        smtputf8=mail.smtputf8,
        tls=client.agreed is not None,
        authenticated=bool(client.user),
    )
    received = format_received(
        helo=machine.helo,
        client_name=client.name,
        client_address=client.address,
        myhostname=config.myhostname,
        mail_name=config.mail_name,
        protocol=protocol,
        recipient=recipients[0].address if len(recipients) == 1 else "",
        time=session.arrival,
        offset=local.tm_gmtoff,
        zone=local.tm_zone,
        queue_id=QUEUE_ID_MARK,
        security=describe_security(
            client.agreed if config.smtpd_tls_received_header else None,
            client.user if config.smtpd_sasl_authenticated_header else "",
            asked=session.server.tls.settings.asks,
        ),
    )
    options = session.server.receive_options
    envelope = Envelope(
        sender=mail.sender,
        arrival_time=session.arrival,
        # RFC 6152 2: what is not declared is 7bit; clients that send 8bit undeclared are taken as they are.
        encoding=_ENCODINGS[mail.encoding or ("7bit" if ascii_only else "8bit")],
        smtputf8=mail.smtputf8,
        ret=_RETS[mail.ret],
        envid=mail.envid,
        origin=origin_of(client, machine.helo, protocol, session.forwarded, session.evaluation.sasl_sender),
        content_filter=effects.content_filter or config.content_filter,
        redirect=effects.redirect,
        verp=mail.verp,
    )
    wanted = [Recipient(address=item.address, orcpt=item.orcpt, notify=item.notify) for item in recipients] + [
        Recipient(address=address, notify=("NEVER",)) for address in effects.bcc
    ]
    return Deposit(
        envelope=envelope,
        recipients=tuple(wanted),
        source="smtpd",
        rewrite_context=session.context,
        filters="no_header_body_checks" not in options,
        aliases="no_address_mappings" not in options,
        bcc="no_address_mappings" not in options,
        milters="no_milters" not in options,
        hold=effects.hold,
        prepend=(*effects.prepend, received),
    )
