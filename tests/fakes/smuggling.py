"""What servers and clients are known to take for the end of a message, besides CR LF "." CR LF.

``VARIANTS``: for attacks on a receiver; ``taken``: how many messages it must have taken then. ``LAX_ENDS``:
how lax receivers of ours would find an end, as expressions over what we send them; ``lax_ends`` looks for them.
"""

import re

VARIANTS = {
    "lf-dot-lf": b"\n.\n",
    "lf-dot-crlf": b"\n.\r\n",
    "crlf-dot-lf": b"\r\n.\n",
    "cr-dot-cr": b"\r.\r",
    "cr-dot-crlf": b"\r.\r\n",
    "cr-dot-lf": b"\r.\n",
    "crlf-dot-cr": b"\r\n.\r",
    "lf-dot-cr": b"\n.\r",
    "crcrlf-dot-crcrlf": b"\r\r\n.\r\r\n",
    "crlf-dot-crcrlf": b"\r\n.\r\r\n",
    "lfcr-dot-crlf": b"\n\r.\r\n",
    "lfcr-dot-lfcr": b"\n\r.\n\r",
    "crlfcr-dot-crlf": b"\r\n\r.\r\n",
    "lflf-dot-crlf": b"\n\n.\r\n",
    "crlflf-dot-crlf": b"\r\n\n.\r\n",
    "crlflf-dot-lf": b"\r\n\n.\n",
    "lflf-dot-lf": b"\n\n.\n",
    "crlflf-dot-lflf": b"\r\n\n.\n\n",
    "lf-dot-crcrlf": b"\n.\r\r\n",
    "crlf-dot-lfcr": b"\r\n.\n\r",
    "crcr-dot-crcr": b"\r\r.\r\r",
    "lf-dot-nul-lf": b"\n.\0\n",
    "lf-nul-dot-lf": b"\n\0.\n",
    "nul-lf-dot-lf": b"\0\n.\n",
    "nuls-around-dot": b"\r\n\0.\0\r\n",
    "nuls-within-crlf": b"\r\0\n.\r\0\n",
    "nul-before-dot": b"\r\n\0.\r\n",
    "nul-behind-dot": b"\r\n.\0\r\n",
    "nul-in-end": b"\r\n.\r\0\n",
    "nul-in-start": b"\r\0\n.\r\n",
    "space-behind-dot": b"\r\n. \r\n",
    "tab-behind-dot": b"\r\n.\t\r\n",
    "space-before-dot": b"\r\n .\r\n",
    "two-dots": b"\r\n..\r\n",
    "two-dots-lf": b"\n..\n",
    "dot-dot-cr": b"\r\n..\r",
    "vertical-tab": b"\x0b.\x0b",
    "form-feed": b"\x0c.\x0c",
    "next-line": b"\x85.\x85",
    "next-line-utf8": b"\xc2\x85.\xc2\x85",
    "line-separator": b"\xe2\x80\xa8.\xe2\x80\xa8",
    "eighth-bit-dot": b"\r\n\xae\r\n",
    "eighth-bit-crlf": b"\x8d\x8a.\x8d\x8a",
    "overlong-dot": b"\r\n\xc0\xae\r\n",
    "overlong-crlf": b"\xc0\x8d\xc0\x8a.\xc0\x8d\xc0\x8a",
    "full-width-dot": b"\r\n\xef\xbc\x8e\r\n",
    "ebcdic-newline": b"\x15.\x15",
    "record-separator": b"\x1e.\x1e",
    "backspace": b"\r\nx\x08.\r\n",
    "delete": b"\r\n.\x7f\r\n",
    "soft-hyphen": b"\r\n.\xc2\xad\r\n",
    "encoded-crlf": b"=0D=0A.=0D=0A",
    "percent-crlf": b"%0D%0A.%0D%0A",
}
# What Postfix takes for the end when it looks for bare newlines nowhere: RFC 5321 4.1.1.4 forbids it.
LAX_ALLOWS = frozenset({
    "lf-dot-lf", "lf-dot-crlf", "crlf-dot-lf", "crlflf-dot-crlf", "crlflf-dot-lf", "lflf-dot-crlf", "lflf-dot-lf",
    "crlflf-dot-lflf", "lf-dot-crcrlf", "crlf-dot-lfcr", "nul-lf-dot-lf", "crcrlf-dot-crcrlf", "crlf-dot-crcrlf",
    "nul-in-start",
})  # fmt: skip
POLICIES = ("normalize", "yes", "note", "reject", "no")
"""Of smtpd_forbid_bare_newline."""


def has_bare_newline(data: bytes) -> bool:
    return re.search(rb"(?<!\r)\n", data) is not None


def taken(name: str, policy: str) -> int:
    """How many messages come of one with another behind this variant, by DATA."""
    if policy == "no":
        return 2 if name in LAX_ALLOWS else 1
    return 0 if policy == "reject" and has_bare_newline(VARIANTS[name]) else 1


LAX_ENDS = tuple(
    re.compile(expression, re.DOTALL)
    for expression in (
        rb"\n\.\r*\n",
        rb"\r\.\r",
        rb"\r\.[\r\n]",
        rb"[\r\n]\.[\r\n]",
        rb"[\r\n]\.[ \t]+[\r\n]",
    )
)
BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
"""A line end that is half of one: nothing that we send has any."""


def lax_ends(data: bytes, drops: bytes = b"") -> list[bytes]:
    """All that a lax receiver would take for an end, if it drops such octets before it looks."""
    kept = data.translate(None, drops)
    return [match[0] for end in LAX_ENDS for match in end.finditer(kept)]
