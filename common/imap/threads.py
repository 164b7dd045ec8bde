"""THREAD=REFERENCES (RFC 5256 3) and THREAD=REFS (draft-ietf-morg-inthread): trees from References. Pure.

REFS is REFERENCES without the gathering by subject, threads in the order of their latest message, as Dovecot has it.
Steps are numbered as in RFC 5256. Nothing recurses, and the search for loops has a budget: past it, which no honest
mailbox comes near, a link is left out rather than a server kept busy.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tubepost.common.imap.collation import casemap
from tubepost.common.imap.subject import base_subject


class Entry(NamedTuple):
    """One message: ``number`` to show (message sequence number or UID, not 0), ``sent`` in seconds (the internal date
    where the Date field is no date: RFC 5256 2.2), ``subject`` decoded; ids with or without their angle brackets, but
    always the same way; ``references`` oldest first, or the first id of In-Reply-To where there are none."""

    number: int
    sent: int
    subject: str = ""
    message_id: str = ""
    references: Sequence[str] = ()


class Node:
    """A message with what hangs below it. ``number`` 0 is a dummy: a message that is not here."""

    __slots__ = ("children", "number", "parent", "sent", "subject")

    def __init__(self, number: int = 0, sent: int = 0, subject: str = "") -> None:
        self.number = number
        self.sent = sent
        self.subject = subject
        self.parent: Node | None = None
        self.children: list[Node] = []


class _Forest:
    """Links under construction: parents only, children come when all is known."""

    __slots__ = ("budget", "nodes")

    def __init__(self, budget: int) -> None:
        self.budget = budget
        # In the order made, as keys: Node has no equality but identity.
        self.nodes: list[Node] = []

    def make(self, number: int = 0, sent: int = 0, subject: str = "") -> Node:
        node = Node(number, sent, subject)
        self.nodes.append(node)
        return node

    def would_loop(self, parent: Node, child: Node, has_children: set[Node]) -> bool:
        """Whether ``child`` is ``parent`` or stands above it."""
        if parent is child:
            return True
        if child not in has_children or parent.parent is None:
            return False
        above: Node | None = parent
        while above is not None:
            if above is child:
                return True
            above = above.parent
            self.budget -= 1
            if self.budget < 0:
                return True
        return False


def _link(entries: Sequence[Entry]) -> list[Node]:
    """Step 1: all nodes, dummies too, with their parents set; step 2 is whoever has none."""
    forest = _Forest(50 * len(entries) + 1_000_000)
    known: dict[str, Node] = {}
    # Nodes that ever became a parent: only those can be part of a loop.
    parents: set[Node] = set()
    taken: set[str] = set()
    for entry in entries:
        own = entry.message_id
        if not own or own in taken:
            # Step 1: no id, or one that another message has already, is as good as a unique one.
            message = forest.make(entry.number, entry.sent, entry.subject)
        else:
            taken.add(own)
            found = known.get(own)
            if found is None:
                message = known[own] = forest.make(entry.number, entry.sent, entry.subject)
            else:
                message = found
                message.number, message.sent, message.subject = entry.number, entry.sent, entry.subject
        previous: Node | None = None
        for reference in entry.references:
            node = known.get(reference)
            if node is None:
                node = known[reference] = forest.make()
            # Step 1 A: existing links stay, and no link may close a loop.
            if previous is not None and node.parent is None and not forest.would_loop(previous, node, parents):
                node.parent = previous
                parents.add(previous)
            previous = node
        # Step 1 B: what the message itself says of its parent wins over what others guessed.
        if message.parent is not previous:
            message.parent = None
            if previous is not None and not forest.would_loop(previous, message, parents):
                message.parent = previous
                parents.add(previous)
    return forest.nodes


def _without_dummies(nodes: list[Node]) -> list[Node]:
    """Steps 2 and 3: the roots, with ``children`` filled in and dummies pruned.

    A dummy's children go to its nearest ancestor that is a message, else to its root, which stays a dummy when it has
    several of them.
    """
    # A node's place to hang its children, found once for each dummy and shared by all below it.
    anchors: dict[Node, Node] = {}
    for node in nodes:
        if not node.number or node.parent is None:
            continue
        path = []
        above: Node = node.parent
        while not above.number and above.parent is not None and above not in anchors:
            path.append(above)
            above = above.parent
        anchor = anchors.get(above, above)
        for dummy in path:
            anchors[dummy] = anchor
        anchor.children.append(node)
    roots = []
    for node in nodes:
        if node.parent is not None:
            continue
        if node.number or len(node.children) > 1:
            roots.append(node)
        elif node.children:
            # Step 3: a single child is promoted even to the top.
            roots.append(node.children[0])
    return roots


def _date_of(node: Node) -> tuple[int, int]:
    """Step 4: a dummy stands where its first child does; children are sorted already."""
    while not node.number:
        node = node.children[0]
    return node.sent, node.number


def _sort_all(roots: list[Node]) -> None:
    """Step 6: every set of siblings by date, those below first."""
    order = list(roots)
    for node in order:
        order.extend(node.children)
    for node in reversed(order):
        if len(node.children) > 1:
            node.children.sort(key=_date_of)
    roots.sort(key=_date_of)


def references(entries: Sequence[Entry]) -> list[Node]:
    """THREAD=REFERENCES. The entries in ascending order of their numbers."""
    roots = _without_dummies(_link(entries))
    # Step 4 needs the children of dummies in order; the rest is sorted once, in step 6.
    for node in roots:
        if not node.number:
            node.children.sort(key=_date_of)
    roots.sort(key=_date_of)
    roots = _gather_subjects(roots)
    _sort_all(roots)
    return roots


def _gather_subjects(roots: list[Node]) -> list[Node]:
    """Step 5: threads of the same base subject become one."""
    table: dict[str, Node] = {}
    replies: dict[Node, bool] = {}
    keys: list[str] = []
    for node in roots:
        shown = node if node.number else node.children[0]
        base = base_subject(shown.subject)
        key = casemap(base.text)
        keys.append(key)
        replies[node] = base.reply
        if not key:
            continue
        there = table.get(key)
        # Step 5 B: a dummy is preferred, then a message that is no reply.
        if there is None or (there.number and (not node.number or (replies[there] and not base.reply))):
            table[key] = node
    # In the order of the roots; a node that went below another is taken out, a new dummy stands for the first of both.
    result: dict[Node, None] = dict.fromkeys(roots)
    for node, key in zip(roots, keys, strict=True):
        if not key:
            continue
        there = table[key]
        if there is node:
            continue
        del result[node]
        if not there.number:
            # Step 5 C: both dummies: their children become siblings; else the message becomes one of them.
            there.children.extend([node] if node.number else node.children)
        elif replies[node] and not replies[there]:
            there.children.append(node)
        else:
            dummy = Node()
            dummy.children = [there, node]
            replies[dummy] = False
            del result[there]
            result[dummy] = None
            table[key] = dummy
    return list(result)


def refs(entries: Sequence[Entry]) -> list[Node]:
    """THREAD=REFS. The entries in ascending order of their numbers."""
    roots = _without_dummies(_link(entries))
    _sort_all(roots)
    latest: dict[Node, tuple[int, int]] = {}
    for root in roots:
        best = (root.sent, root.number) if root.number else (0, 0)
        stack = list(root.children)
        while stack:
            node = stack.pop()
            best = max(best, (node.sent, node.number))
            stack.extend(node.children)
        latest[root] = best
    roots.sort(key=latest.__getitem__)
    return roots
