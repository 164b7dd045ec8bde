"""What servers and clients are known to take for the end of a message, besides CR LF "." CR LF.

``VARIANTS``: for attacks on a receiver. ``LAX_ENDS``: how lax receivers of ours would find an end, as expressions over
what we send them.
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
LAX_ENDS = tuple(
    re.compile(expression, re.DOTALL)
    for expression in (
        rb"\n\.\r*\n",
        rb"\r\.\r",
        rb"\r\.[\r\n]",
        rb"[\r\n]\.[\r\n]",
        rb"[\r\n]\0*\.\0*[\r\n]",
        rb"[\r\n]\.\r\0+\n",
        rb"[\r\n]\.[ \t]+[\r\n]",
    )
)
BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
"""A line end that is half of one: nothing that we send has any."""
