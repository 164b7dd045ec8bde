"""i;unicode-casemap (RFC 5051), by which SORT, THREAD and SEARCH compare (I18NLEVEL=1, RFC 5255 4.2). Pure."""

import unicodedata

# More than one language has characters: nobody's mail makes the map grow to all of Unicode.
_LIMIT = 65536


class _Casemap(dict[int, str]):
    """The mapping of each character, found when it is first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        titled = character.title()
        # RFC 5051 2 (step 1): the simple titlecase mapping; where the full one is longer the simple one is none.
        if len(titled) != 1:
            titled = character
        # Steps 2 and 3: decompose, compatibility mappings too.
        mapped = unicodedata.normalize("NFKD", titled)
        if len(self) < _LIMIT:
            self[code] = mapped
        return mapped


_MAP = _Casemap()


def casemap(text: str) -> str:
    """The key under which equal texts are equal and the order of code points is the order of the collation."""
    if text.isascii():
        return text.upper()
    return text.translate(_MAP)
