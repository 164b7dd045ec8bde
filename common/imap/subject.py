"""The base subject of RFC 5256 2.1, by which SORT and THREAD compare subjects. Pure.

All steps move two marks over one string: time is linear in the subject, whatever it holds.
"""

import re
from typing import NamedTuple

_BLANKS = re.compile(r"[ \t\r\n]+")
# RFC 5256 5: subj-blob = "[" *BLOBCHAR "]" *WSP; a blob holds neither bracket.
_BLOBS = re.compile(r"(?:\[[^\[\]]*+\] *+)++")
_BLOB = re.compile(r"\[[^\[\]]*+\] *+")
# subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"
_REPLY = re.compile(r"(?:re|fwd?+) *+(?:\[[^\[\]]*+\] *+)?+:", re.IGNORECASE)
_FORWARD = "[fwd:"


class BaseSubject(NamedTuple):
    """``text`` as written, to be compared by ``collation.casemap``; ``reply``: a mark of a reply or forward was cut."""

    text: str
    reply: bool


def base_subject(subject: str) -> BaseSubject:
    """The base of a Subject field's value whose encoded words are decoded already (step 1 of RFC 5256 2.1)."""
    text = _BLANKS.sub(" ", subject)
    start, end = 0, len(text)
    reply = False
    while True:
        # Step 2: trailers "(fwd)" and blanks.
        while end > start:
            if text[end - 1] == " ":
                end -= 1
            elif end - start >= 5 and text[end - 5 : end].lower() == "(fwd)":
                end -= 5
                reply = True
            else:
                break
        # Steps 3 to 5: leaders, then blobs as long as something is left behind them.
        while True:
            while start < end and text[start] == " ":
                start += 1
            blobs = _BLOBS.match(text, start, end)
            after = blobs.end() if blobs is not None else start
            mark = _REPLY.match(text, after, end)
            if mark is not None:
                start = mark.end()
                reply = True
                continue
            if blobs is None:
                break
            if after < end:
                start = after
                continue
            # Blobs to the end: the last one is the base.
            place = start
            while place < end:
                blob = _BLOB.match(text, place, end)
                if blob is None:
                    break
                start, place = place, blob.end()
            break
        # Step 6: "[fwd: … ]" is taken off and all begins again.
        if end - start > len(_FORWARD) and text[end - 1] == "]" and text[start : start + 5].lower() == _FORWARD:
            start += len(_FORWARD)
            end -= 1
            reply = True
            continue
        return BaseSubject(text[start:end], reply)
