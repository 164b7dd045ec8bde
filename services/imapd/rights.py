"""Who may do what in a mailbox: access control lists as values (RFC 4314, pure)."""

from collections.abc import Iterable, Mapping

ALL = "lrswipkxtea"
"""RFC 4314 2.1, in the order in which they are shown."""
ANYONE = "anyone"
"""RFC 4314 2: everybody who may log in at all."""
ALWAYS = "la"
"""What the owner of a mailbox cannot lose: to see it, and to change who may do what."""
# RFC 4314 2.1.1: the rights of RFC 2086, each for some of today's.
_OBSOLETE = {"c": "kx", "d": "te"}
KNOWN = frozenset(ALL).union(_OBSOLETE)
_FLAG_RIGHTS = {"\\Seen": "s", "\\Deleted": "t"}


def ordered(rights: Iterable[str]) -> str:
    """Each once, in the order of ``ALL``; the obsolete ones as what they stand for."""
    found = set(rights)
    for letter, members in _OBSOLETE.items():
        if letter in found:
            found.update(members)
    return "".join(letter for letter in ALL if letter in found)


def shown(rights: str) -> str:
    """As ACL and MYRIGHTS tell them: with the obsolete right of which a member is there (RFC 4314 2.1.1: MUST)."""
    return rights + "".join(letter for letter, members in _OBSOLETE.items() if any(m in rights for m in members))


def changed(before: str, mode: str, given: str) -> str:
    """What SETACL makes of ``before``; ``mode`` is ``=``, ``+`` or ``-`` (RFC 4314 3.1)."""
    known = set(ordered(given))
    if mode == "+":
        known |= set(before)
    elif mode == "-":
        known = set(before) - known
    return ordered(known)


def effective(acl: Mapping[str, str], user: str, owner: str) -> str:
    """What ``user`` may do; ``acl``: identifier to rights, ``-identifier`` to rights that are taken away (RFC 4314 2).

    The owner has all, unless the list says otherwise of the owner by name.
    """
    if user == owner:
        granted = set(acl.get(owner, ALL)) - set(acl.get(f"-{owner}", ""))
        return ordered(granted.union(ALWAYS))
    granted = set(acl.get(user, "")).union(acl.get(ANYONE, ""))
    return ordered(granted.difference(acl.get(f"-{user}", ""), acl.get(f"-{ANYONE}", "")))


def shows_anyone(lists: Mapping[int, Mapping[str, str]]) -> bool:
    """May everybody see one of the mailboxes? ``lists``: of an account, by folder."""
    return any("l" in acl.get(ANYONE, "") for acl in lists.values())


def right_for(flag: str) -> str:
    """The right that setting or clearing a flag takes (RFC 4314 4)."""
    return _FLAG_RIGHTS.get(flag, "w")


def permitted(flags: Iterable[str], rights: str) -> list[str]:
    """Those of the flags that may be changed."""
    return [flag for flag in flags if right_for(flag) in rights]
