"""The order of SORT and the threads of THREAD (RFC 5256), from plain tuples. Pure.

``threads`` has the algorithms that follow References. A thread is a ``Node``; 200,000 messages in one chain are as
welcome as in one heap: nothing here recurses.
"""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from tubepost.common.imap.collation import casemap
from tubepost.common.imap.subject import base_subject
from tubepost.common.imap.threads import Entry, Node, references, refs

__all__ = ["Entry", "Node", "ordered_subject", "references", "refs", "render", "sort", "subject_key", "thread"]


def subject_key(subject: str) -> str:
    """What SUBJECT sorts by."""
    return casemap(base_subject(subject).text)


def sort(numbers: Sequence[int], columns: Iterable[tuple[Sequence[Any], bool]]) -> list[int]:
    """``numbers`` (ascending) in the order of the columns, the weightiest first; equal ones stay ascending.

    A column is (one key for each number, REVERSE). Keys: integers for ARRIVAL, DATE (seconds) and SIZE, ``casemap`` of
    the addr-mailbox for CC, FROM and TO (RFC 5256 3), ``casemap`` of the name to show for DISPLAYFROM and DISPLAYTO
    (RFC 5957), ``subject_key`` for SUBJECT.
    """
    order = list(range(len(numbers)))
    for keys, reverse in reversed(list(columns)):
        # RFC 5256 3: REVERSE turns its criterion alone; Python's sort keeps equal ones in order either way.
        order.sort(key=keys.__getitem__, reverse=reverse)
    return [numbers[index] for index in order]


def ordered_subject(entries: Iterable[Entry]) -> list[Node]:
    """THREAD=ORDEREDSUBJECT: the first message of a base subject, all the others its children."""
    groups: dict[str, list[tuple[int, int]]] = {}
    for entry in entries:
        groups.setdefault(subject_key(entry.subject), []).append((entry.sent, entry.number))
    found = []
    for group in groups.values():
        group.sort()
        found.append((group[0], group))
    found.sort(key=itemgetter(0))
    result = []
    for _first, group in found:
        root = Node(group[0][1])
        root.children = [Node(number) for _sent, number in group[1:]]
        result.append(root)
    return result


_ALGORITHMS = {b"ORDEREDSUBJECT": ordered_subject, b"REFERENCES": references, b"REFS": refs}


def thread(algorithm: bytes, entries: Iterable[Entry]) -> list[Node]:
    """The threads of the messages, given in ascending order; ``algorithm`` as in ``search.THREADS``."""
    return _ALGORITHMS[algorithm](list(entries))


def render(roots: Iterable[Node]) -> bytes:
    """The threads as the THREAD response shows them: ``(2)(3 6 (4 23)(44 7 96))`` (RFC 5256 4)."""
    parts: list[str] = []
    # Nodes to open, and ")" to close what stands before.
    stack: list[Node | None] = []
    for root in roots:
        stack.append(root)
        while stack:
            node = stack.pop()
            if node is None:
                parts.append(")")
                continue
            parts.append("(")
            stack.append(None)
            # A chain of only children goes on within the same parentheses.
            separator = ""
            while True:
                if node.number:
                    parts.append(f"{separator}{node.number}")
                    separator = " "
                if len(node.children) != 1:
                    break
                node = node.children[0]
            if node.children:
                parts.append(separator)
                stack.extend(reversed(node.children))
    return "".join(parts).encode("ascii")
