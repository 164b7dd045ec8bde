"""The Received: field that the server puts on top (RFC 5321 4.4), in Postfix's form. Pure."""

from functools import lru_cache

from tubepost.common.mail.date import format_date

# Many messages come in one second.
_format_date = lru_cache(4)(format_date)


def format_received(
    *,
    helo: str,
    client_name: str,
    client_address: str,
    myhostname: str,
    mail_name: str,
    protocol: str,
    recipient: str,
    time: float,
    offset: int,
    zone: str = "",
    queue_id: str = "",
) -> str:
    """The field's lines joined by LF, without the last one. ``recipient``: only when there is exactly one, else "".

    ``time`` in seconds since the epoch, ``offset`` in seconds east of UTC.
    """
    address = f"IPv6:{client_address}" if ":" in client_address else client_address
    identity = f" id {queue_id}" if queue_id else ""
    # RFC 5321 4.4: FROM has the name that the client said and the address that the connection came from.
    by = (
        f"Received: from {helo or client_name} ({client_name} [{address}])\n"
        f"\tby {myhostname} ({mail_name}) with {protocol}{identity}"
    )
    date = _format_date(int(time), offset, zone)
    # RFC 5321 7.6: with several recipients FOR would tell each of them about another.
    return f"{by}\n\tfor <{recipient}>; {date}" if recipient else f"{by};\n\t{date}"
