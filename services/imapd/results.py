"""What a search returns: the items of an ESEARCH response, and what ``$`` then stands for (pure).

RFC 4731, RFC 9051 7.3.4, RFC 5182 2.4, RFC 5267, RFC 9394 3.2, RFC 6203 4.
"""

from collections.abc import Collection, Sequence

from tubepost.common.imap.write import compact, compact_ordered

Items = list[tuple[bytes, bytes]]


def part(found: Sequence[int], partial: tuple[int, int]) -> Sequence[int]:
    """Those in the range of PARTIAL: from the first, or negative from the last (RFC 9394 3.1)."""
    low, high = partial
    if low > 0:
        return found[low - 1 : high]
    end = len(found) + low + 1
    return found[max(0, len(found) + high) : end] if end > 0 else found[:0]


def items(
    found: Sequence[int],
    options: Collection[bytes],
    partial: tuple[int, int] | None = None,
    *,
    ordered: bool = False,
    scores: Sequence[int] | None = None,
    modseq: int = 0,
) -> Items:
    """``found``: message numbers or UIDs in the order of the result; ``ordered``: that is not the ascending one.

    MIN and MAX are the first and the last of the result (RFC 5267 3.1). ``modseq``: 0 for none to tell.
    """
    write = compact_ordered if ordered else compact
    result: Items = []
    shown: Sequence[int] | None = scores
    if found:
        if b"MIN" in options:
            result.append((b"MIN", b"%d" % found[0]))
        if b"MAX" in options:
            result.append((b"MAX", b"%d" % found[-1]))
        if b"ALL" in options:
            result.append((b"ALL", write(found)))
    if partial is not None:
        some = part(found, partial)
        result.append((b"PARTIAL", b"(%d:%d %b)" % (*partial, write(some) if some else b"NIL")))
        if scores is not None:
            shown = part(scores, partial)
    if b"COUNT" in options:
        result.append((b"COUNT", b"%d" % len(found)))
    if b"RELEVANCY" in options and shown is not None:
        # RFC 6203 4: in the order of the results.
        result.append((b"RELEVANCY", b"(%b)" % b" ".join(b"%d" % score for score in shown)))
    if modseq and found:
        result.append((b"MODSEQ", b"%d" % modseq))
    return result


def kept(found: Sequence[int], options: Collection[bytes], partial: tuple[int, int] | None = None) -> Sequence[int]:
    """What SAVE keeps of UIDs in the order of the result; ascending."""
    if not found or b"ALL" in options or b"COUNT" in options:
        return sorted(found)
    if not {b"MIN", b"MAX", b"PARTIAL"}.intersection(options):
        return sorted(found)
    some: set[int] = set(part(found, partial)) if partial is not None else set()
    if b"MIN" in options:
        some.add(found[0])
    if b"MAX" in options:
        some.add(found[-1])
    return sorted(some)


def weighed(found: Sequence[int], options: Collection[bytes]) -> Sequence[int]:
    """The messages of which MODSEQ tells the highest (RFC 7162 3.1.10)."""
    if not found or {b"ALL", b"COUNT", b"PARTIAL"}.intersection(options):
        return found
    some = [found[0]] if b"MIN" in options else []
    if b"MAX" in options:
        some.append(found[-1])
    return sorted(set(some)) if some else found
