"""What an attacker writes into an argument in the hope that it begins a line of a header, a reply or the log.

Line ends and other control characters, plain and in every coding. A line that came of it would begin with ``MARK``.
"""

import base64
import re

MARK = b"Injected"
PAYLOADS = {
    "cr": b"\rInjected: yes",
    "nul": b"\0Injected: yes",
    "nul-crlf": b"\0\r\nInjected: yes",
    "lf": b"\nInjected: yes",
    "crlf": b"\r\nInjected: yes",
    "crlf-fold": b"\r\n Injected: yes",
    "crcrlf": b"\r\r\nInjected: yes",
    "vertical-tab": b"\x0bInjected: yes",
    "form-feed": b"\x0cInjected: yes",
    "escape": b"\x1b[2J\x1b[1;1HInjected: yes",
    "separators": b"\x1c\x1d\x1eInjected: yes",
    "delete": b"\x7f\x08\x08Injected: yes",
    "next-line": b"\x85Injected: yes",
    "next-line-utf8": "\u0085Injected: yes".encode(),
    "line-separator": "\u2028Injected: yes".encode(),
    "paragraph-separator": "\u2029Injected: yes".encode(),
    "right-to-left": "\u202eInjected: yes".encode(),
    "overlong-lf": b"\xc0\x8aInjected: yes",
    "overlong-crlf": b"\xc0\x8d\xc0\x8aInjected: yes",
    "overlong-3": b"\xe0\x80\x8aInjected: yes",
    "surrogate": b"\xed\xa0\x80Injected: yes",
    "beyond": b"\xf4\x90\x80\x80Injected: yes",
    "high-lf": b"\x8d\x8aInjected: yes",
    "no-utf8": b"\xff\xfeInjected: yes",
    "xtext-crlf": b"+0D+0AInjected:+20yes",
    "xtext-lf": b"+0AInjected:+20yes",
    "xtext-cr": b"+0DInjected:+20yes",
    "xtext-nul": b"+00Injected:+20yes",
    "xtext-next-line": b"+C2+85Injected:+20yes",
    "xtext-overlong": b"+C0+8AInjected:+20yes",
    "xtext-twice": b"+2B0AInjected",
    "embedded": b"\\x{0D}\\x{0A}Injected:\\x{20}yes",
    "embedded-next-line": b"\\x{85}Injected",
    "embedded-separator": b"\\x{2028}Injected",
    "percent": b"%0D%0AInjected:%20yes",
    "quoted-printable": b"=0D=0AInjected: yes",
    "encoded-word": b"=?utf-8?Q?=0D=0AInjected:_yes?=",
    "backslash-cr": b"\\\rInjected: yes",
    "backslash-nul": b"\\\0Injected: yes",
    "backslash-n": b"\\nInjected: yes",
    "comment": b"(\rInjected: yes)",
    "blank-line": b"\n\nInjected: yes",
    "recipient": b"\nBcc: bob@example.test\nInjected: yes",
    "entity": b"&#13;&#10;Injected: yes",
}
LINE_ENDS = re.compile(rb"\r|\n|\x0b|\x0c|\x85|\xc2\x85|\xe2\x80\xa8|\xe2\x80\xa9")
"""What anybody takes for the end of a line."""
_LOG_LINE = re.compile(r"\w{3} [ \d]\d [\d:.]+ \S+ postfix/\S+\[\d+\]: ")
_ENCODED = re.compile(rb"\{base64:(.*?)\}", re.DOTALL)


def fill(form: bytes, payload: bytes) -> bytes:
    """The payload for each ``%b``; then what stands in ``{base64:…}`` is encoded."""
    return _ENCODED.sub(lambda found: base64.b64encode(found[1]), form.replace(b"%b", payload))


def no_line_of_theirs(data: bytes, *, of: object = "") -> None:
    """In a message. Also in a report's copy of a header there is none."""
    for line in LINE_ENDS.split(data):
        assert not line.lstrip(b" \t").startswith((MARK, b"Bcc: bob")), (of, data)
    head = data.partition(b"\n\n")[0]
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", head), (of, head)


def log_is_ours(lines: list[str]) -> None:
    for text in lines:
        assert _LOG_LINE.match(text), text
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]", text), text
