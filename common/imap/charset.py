"""The character sets that SEARCH takes (RFC 9051 6.4.4). Pure.

All are looked up while the module loads: a confined program cannot load a codec later.
"""

import codecs

from tubepost.common.imap.errors import BadCharset, BadCommand

_NAMES = (
    "us-ascii utf-8 utf-7 utf-16 utf-16be utf-16le utf-32 utf-32be utf-32le "
    "iso-8859-1 iso-8859-2 iso-8859-3 iso-8859-4 iso-8859-5 iso-8859-6 iso-8859-7 iso-8859-8 iso-8859-9 iso-8859-10 "
    "iso-8859-11 iso-8859-13 iso-8859-14 iso-8859-15 iso-8859-16 latin1 "
    "windows-1250 windows-1251 windows-1252 windows-1253 windows-1254 windows-1255 windows-1256 windows-1257 "
    "windows-1258 cp437 cp850 cp852 cp866 cp874 cp932 cp949 cp950 koi8-r koi8-u mac-roman tis-620 "
    "gb2312 gbk gb18030 big5 big5-hkscs hz-gb-2312 shift_jis euc-jp iso-2022-jp iso-2022-jp-2 euc-kr iso-2022-kr"
)
_CODECS = {name: codecs.lookup(name.replace("hz-gb-2312", "hz")) for name in _NAMES.split()}
_CODECS["ascii"] = _CODECS["us-ascii"]
_CODECS["utf8"] = _CODECS["utf-8"]
DEFAULT = "utf-8"


def find(name: bytes) -> str:
    """The charset's name in lower case. Raises BadCharset (answered NO [BADCHARSET …]) when it is not known."""
    wanted = name.decode("ascii", "replace").lower()
    if wanted not in _CODECS:
        raise BadCharset("Unknown character set")
    return wanted


def decode(data: bytes, charset: str) -> str:
    """A search string. US-ASCII, the default of RFC 3501, is read as RFC 9051's, UTF-8.

    Raises BadCharset for what is not in that character set: a client that is told NO can search by itself, and one
    well-known library must, for it mangles what is not ASCII once UTF8=ACCEPT is enabled. Raises BadCommand.
    """
    if charset in ("us-ascii", "ascii", "utf-8", "utf8"):
        codec = _CODECS["utf-8"]
    else:
        codec = _CODECS[charset]
    try:
        text = codec.decode(data, "strict")[0]
        # UTF-7 can spell half a surrogate pair, which no index could take.
        text.encode("utf-8")
    except ValueError:
        raise BadCharset("A search string is not in its character set") from None
    if "\x00" in text:
        # RFC 9051 9: no string has a NUL, and UTF-16 shall not bring one in.
        raise BadCommand("A search string has a NUL")
    return text
