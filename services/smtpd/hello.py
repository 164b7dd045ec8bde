"""EHLO: what this client is told that it may use (RFC 5321 4.1.1.1). Pure."""

from typing import TYPE_CHECKING

from tubepost.common.smtp import extensions

from tubepost.services.smtpd import events, xclient

if TYPE_CHECKING:
    from tubepost.services.smtpd.protocol import Machine

# Clients of different kinds are offered different things; a table of client addresses must not fill memory.
_EHLO_REPLIES_LIMIT = 100


def greet(machine: "Machine", event: events.Helo) -> None:
    """The reply to HELO or EHLO that was accepted."""
    machine.reset_transaction()
    machine.helo = event.name
    verb = "EHLO" if event.extended else "HELO"
    machine.count(verb, 1, 0)
    if not event.extended:
        # RFC 5321 4.1.1.1; the protocol stays ESMTP once EHLO was said, or pipelining could not be judged.
        machine.reply(f"250 {machine.settings.myhostname}")
        return
    machine.protocol = "ESMTP"
    if machine.withheld and not machine.withheld_silently:
        machine.logs.append(("info", f"discarding EHLO keywords: {' '.join(sorted(machine.withheld))}"))
    made = machine.settings.ehlo_replies
    key = (
        machine.verp_allowed,
        machine.xclient_allowed,
        machine.xforward_allowed,
        machine.withheld,
        machine.tls_offered and not machine.tls_active,
        machine.mechanisms,
    )
    known = made.get(key)
    if known is None:
        reply = extensions.format_reply(machine.settings.myhostname, keywords(machine)).decode("utf-8")[:-2]
        if len(made) >= _EHLO_REPLIES_LIMIT:
            made.clear()
        known = made[key] = reply, tuple(f"Out: {line}" for line in reply.split("\r\n"))
    if machine.settings.keep_history:
        machine.history.extend(known[1])
    machine.say(known[0])


def keywords(machine: "Machine") -> list[tuple[str, str]]:
    """Keyword and arguments, in the order in which they are said."""
    settings = machine.settings
    offered = [
        # RFC 2920, 1870, 5321, 1985
        ("PIPELINING", ""),
        ("SIZE", str(settings.message_size_limit) if settings.message_size_limit else ""),
    ]
    if not settings.disable_vrfy_command:
        offered.append(("VRFY", ""))
    offered.append(("ETRN", ""))
    if machine.tls_offered and not machine.tls_active:
        # RFC 3207 4.2: not within TLS.
        offered.append(("STARTTLS", ""))
    if machine.mechanisms:
        # RFC 4954 3
        names = " ".join(machine.mechanisms)
        offered.append(("AUTH", names))
        if settings.broken_sasl_auth_clients and "AUTH" not in machine.withheld:
            # Clients of before RFC 2554 read the draft's form.
            offered.append((f"AUTH={names}", ""))
    if machine.verp_allowed:
        offered.append(("XVERP", ""))
    if machine.xclient_allowed:
        offered.append(("XCLIENT", " ".join(xclient.XCLIENT_NAMES)))
    if machine.xforward_allowed:
        offered.append(("XFORWARD", " ".join(xclient.XFORWARD_NAMES)))
    # RFC 2034, 6152, 3461, 6531, 3030
    offered += [("ENHANCEDSTATUSCODES", ""), ("8BITMIME", ""), ("DSN", "")]
    if settings.smtputf8_enable:
        offered.append(("SMTPUTF8", ""))
    offered += [("CHUNKING", ""), ("BINARYMIME", "")]
    if settings.recipient_limit:
        # RFC 9422 4.2
        offered.append(("LIMITS", f"RCPTMAX={settings.recipient_limit}"))
    return [(keyword, arguments) for keyword, arguments in offered if keyword not in machine.withheld]
