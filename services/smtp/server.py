"""What is known of the server at the other end, and how this client is set up. Pure."""

import re
from dataclasses import dataclass, field

from tubepost.common.smtp.replies import Reply

# Of a reply so many characters are told: it is said again for each recipient, in the log, in the queue, in a bounce.
# Postfix: line_length_limit, and the line that passes it.
_SAID_LIMIT = 4096
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """A peer's words may stand in a log line or a bounce, its control characters may not."""
    return text if text.isprintable() else _UNPRINTABLE.sub("?", text)


def said(reply: Reply) -> str:
    """A reply as it is told."""
    text = printable(reply.text)
    return text if len(text) <= _SAID_LIMIT else f"{text[:_SAID_LIMIT]}..."


@dataclass(slots=True)
class Server:
    """``host`` and ``address`` as log lines name them; ``port`` 0 for a UNIX socket."""

    host: str
    address: str
    port: int = 0
    keywords: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Of its EHLO reply, without those that are to be discarded."""
    size_limit: int = 0
    best: bool = False
    """Of the best preference: nobody is nearer to the destination."""
    delay_dot: bool = False
    """A PIX firewall stands before it (smtp_pix_workarounds)."""

    @property
    def name(self) -> str:
        return f"{self.host}[{self.address}]"

    @property
    def relay(self) -> str:
        """For log lines."""
        return f"{self.host}[{self.address}]:{self.port}" if self.port else f"{self.host}[{self.address}]"


@dataclass(frozen=True, slots=True)
class Manner:
    """How this client speaks: values of smtp_ (or lmtp_) parameters."""

    hostname: str
    helo_name: str
    lmtp: bool = False
    always_ehlo: bool = True
    never_ehlo: bool = False
    skip_5xx_greeting: bool = True
    quote: bool = True
    convert: bool = True
    """disable_mime_output_conversion is off."""
    xforward: bool = False
    probe_to_data: bool = False
    """smtp_address_verify_target = data."""
    pix: frozenset[str] = frozenset()
