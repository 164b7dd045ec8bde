"""SASLprep (RFC 4013): one form of the many that user names and passwords are typed in. Pure.

Python's ``stringprep`` has RFC 3454's tables; ``unicodedata.ucd_3_2_0`` is the Unicode version that RFC 3454 names.
"""

import stringprep
import unicodedata

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str, *, stored: bool = False) -> str:
    """Raises ValueError for what must not stand in a name or password.

    ``stored``: a string that is kept (RFC 3454 7): code points that Unicode 3.2 did not know are refused.
    """
    if text.isascii():
        if text.isprintable():
            return text
        raise ValueError("control characters are not allowed")
    # RFC 4013 2.1: non-ASCII spaces become a space, what is "commonly mapped to nothing" goes.
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    # RFC 4013 2.2
    normal = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if not normal:
        return ""
    for character in normal:
        # RFC 4013 2.3
        if any(prohibited(character) for prohibited in _PROHIBITED):
            raise ValueError(f"the character U+{ord(character):04X} is not allowed")
        # RFC 4013 2.5
        if stored and stringprep.in_table_a1(character):
            raise ValueError(f"the character U+{ord(character):04X} is not known to SASLprep")
    # RFC 3454 6: with a right-to-left character there is none of left to right, and both ends are right to left.
    if any(stringprep.in_table_d1(c) for c in normal):
        if any(stringprep.in_table_d2(c) for c in normal):
            raise ValueError("text to the left and to the right is mixed")
        if not (stringprep.in_table_d1(normal[0]) and stringprep.in_table_d1(normal[-1])):
            raise ValueError("text to the right must begin and end with a letter of its kind")
    return normal


def prepare_password(password: str) -> str:
    """A password in the form that is hashed. Raises ValueError: it is empty, or has what SASLprep forbids.

    Newer characters than Unicode 3.2's (emoji) are let through: as a query string (RFC 3454 7) is.
    """
    prepared = saslprep(password)
    if not prepared:
        raise ValueError("an empty password is not allowed")
    return prepared
