"""Bytes of mail to text, whatever character set they claim to be in: never fails, never loads code later on.

Names are read as mail uses them: ``gb2312`` is written by programs that mean GBK, ``iso-8859-1`` and ``us-ascii`` by
those that mean windows-1252, as the WHATWG's encoding standard has found too.
"""

import codecs
import contextlib
import re

# What a name stands for in practice: a superset, which reads all that the narrower set could.
_MEANT = {
    "gb2312": "gb18030", "gb-2312": "gb18030", "gb_2312-80": "gb18030", "gbk": "gb18030", "cp936": "gb18030",
    "x-gbk": "gb18030", "ks_c_5601-1987": "cp949", "ksc5601": "cp949", "ks_c_5601": "cp949", "euc-kr": "cp949",
    "shift_jis": "cp932", "shift-jis": "cp932", "sjis": "cp932", "x-sjis": "cp932", "windows-31j": "cp932",
    "iso-8859-1": "cp1252", "latin1": "cp1252", "iso8859-1": "cp1252", "iso_8859-1": "cp1252",
    "iso-8859-9": "cp1254", "iso-8859-8-i": "iso8859-8", "iso-8859-8-e": "iso8859-8", "iso-8859-6-i": "iso8859-6",
    "iso-8859-11": "cp874", "tis-620": "cp874", "windows-874": "cp874", "x-windows-874": "cp874",
    "big5": "big5hkscs", "big5-hkscs": "big5hkscs", "x-big5": "big5hkscs", "iso-2022-jp": "iso2022_jp_ext",
    "unicode-1-1-utf-7": "utf-7", "utf8mb4": "utf-8", "unicode-1-1-utf-8": "utf-8", "macintosh": "mac-roman",
    "x-mac-roman": "mac-roman", "x-utf-8": "utf-8", "utf": "utf-8",
}  # fmt: skip

# Every codec that can be named, looked up while the program may still read its library: a confined one may not.
_CODECS = (
    "ascii", "utf-8", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-7", "utf-8-sig", "latin-1",
    "iso8859-2", "iso8859-3", "iso8859-4", "iso8859-5", "iso8859-6", "iso8859-7", "iso8859-8", "iso8859-9",
    "iso8859-10", "iso8859-13", "iso8859-14", "iso8859-15", "iso8859-16", "cp1250", "cp1251", "cp1252", "cp1253",
    "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp437", "cp850", "cp852", "cp855", "cp866", "cp874", "cp932",
    "cp949", "koi8-r", "koi8-u", "koi8-t", "kz1048", "gb18030", "hz", "big5hkscs", "euc_jp", "euc_jisx0213",
    "iso2022_jp", "iso2022_jp_ext", "iso2022_jp_2", "iso2022_kr", "johab", "mac-roman", "mac-cyrillic", "mac-greek",
    "mac-latin2", "mac-turkish", "viscii",
)  # fmt: skip


def _load() -> dict[str, codecs.CodecInfo]:
    found = {}
    for name in _CODECS:
        with contextlib.suppress(LookupError):
            info = codecs.lookup(name)
            found[info.name] = info
    return found


_LOADED = _load()
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNKNOWN_LIMIT = 1000
# Names that mail used, and what came of them; emptied when a peer fills it with nonsense.
_by_name: dict[str, codecs.CodecInfo | None] = {}


def find(name: str) -> codecs.CodecInfo | None:
    """The codec of a character set's name, None when it is not known."""
    key = name.strip().strip("\"'").lower()
    if key in _by_name:
        return _by_name[key]
    info = None
    meant = _MEANT.get(key, key)
    if meant.isascii() and "\0" not in meant and len(meant) < 60:
        with contextlib.suppress(LookupError, ValueError, ImportError, OSError):
            info = _LOADED.get(codecs.lookup(meant).name)
    if len(_by_name) >= _UNKNOWN_LIMIT:
        _by_name.clear()
    _by_name[key] = info
    return info


def decode(raw: bytes, name: str = "") -> str:
    """Text of bytes. Without a name, or where it says ASCII and is not, UTF-8 is tried, then windows-1252.

    A character set that is not known is read as windows-1252 (bytes that it has not as ISO 8859-1), so that what is
    ASCII in it can be found.
    """
    # What is ASCII is the same in nearly every set, but not where escapes or two bytes make a character.
    if (not name or name in ("utf-8", "us-ascii", "iso-8859-1")) and raw.isascii():
        return raw.decode("ascii")
    info = find(name) if name else None
    if info is None or info.name == "ascii":
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return _western(raw)
    if info.name == "cp1252":
        return _western(raw)
    try:
        text = info.decode(raw, "replace")[0]
    except (UnicodeError, ValueError):
        return _western(raw)
    # UTF-7 can spell halves of characters, which nothing can store.
    return _SURROGATE.sub("\ufffd", text) if info.name == "utf-7" else text


def _western(raw: bytes) -> str:
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
