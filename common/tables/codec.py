"""Text to bytes and back, as tables store it. Pure.

Keys and values are UTF-8. A key that is no valid Unicode cannot be in a table; a value that is no UTF-8 is a fault of
the table (Postfix with smtputf8_enable: the same).
"""

from tubepost.common.tables.table import TableError


def encode_key(key: str, utf8: bool = True) -> bytes | None:
    """None for a key that cannot be in any table."""
    try:
        return key.encode("utf-8", "strict" if utf8 else "surrogateescape")
    except UnicodeEncodeError:
        return None


def decode_value(spec: str, key: str, value: bytes, utf8: bool = True) -> str:
    """Raises TableError for a value that is not UTF-8."""
    try:
        return value.decode("utf-8", "strict" if utf8 else "surrogateescape")
    except UnicodeDecodeError as error:
        raise TableError(f'{spec}: the value for "{key}" is not UTF-8') from error
