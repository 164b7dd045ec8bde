"""What is announced, by the state of the session (pure). A name stands here only when all of it is there."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

# RFC 9051 7.2.2; both revisions, as RFC 9051 appendix A allows.
_ALWAYS = ("IMAP4rev2", "IMAP4rev1", "LITERAL+", "SASL-IR", "ID", "ENABLE")
_AFTER = (
    "IDLE",
    "NAMESPACE",
    "UIDPLUS",
    "UNSELECT",
    "CHILDREN",
    "MOVE",
    "CONDSTORE",
    "QRESYNC",
    "MULTIAPPEND",
    "STATUS=SIZE",
    "OBJECTID",
    "SAVEDATE",
    "PREVIEW",
    "BINARY",
    "SPECIAL-USE",
    "CREATE-SPECIAL-USE",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "UTF8=ACCEPT",
    "ESEARCH",
    "SEARCHRES",
    "SORT",
    "SORT=DISPLAY",
    "THREAD=ORDEREDSUBJECT",
    "THREAD=REFERENCES",
    "THREAD=REFS",
    "ESORT",
    "CONTEXT=SEARCH",
    "CONTEXT=SORT",
    "PARTIAL",
    "MULTISEARCH",
    "SEARCH=FUZZY",
    "I18NLEVEL=1",
    "WITHIN",
    "INPROGRESS",
    "QUOTA",
    "QUOTA=RES-STORAGE",
    "QUOTA=RES-MESSAGE",
    "ACL",
    "RIGHTS=kxte",
    "LIST-MYRIGHTS",
    "METADATA",
    "LIST-METADATA",
    "CATENATE",
    "URLAUTH",
    "URLAUTH=BINARY",
    "REPLACE",
    "NOTIFY",
    "UIDONLY",
)
ENABLED = frozenset({b"CONDSTORE", b"QRESYNC", b"IMAP4REV2", b"UTF8=ACCEPT", b"METADATA", b"UIDONLY"})
"""What ENABLE knows (RFC 5161)."""


def capabilities(session: "Session") -> list[str]:
    """In the order in which they are announced."""
    found = list(_ALWAYS)
    if session.user is not None:
        found += _AFTER
        limit = session.server.config.imapd_append_limit
        # RFC 7889 2: without a value it is STATUS that tells it, where it is NIL for none.
        found.append(f"APPENDLIMIT={limit}" if limit else "APPENDLIMIT")
        found.append("UNAUTHENTICATE")
        if session.server.config.imapd_message_limit:
            found.append(f"MESSAGELIMIT={session.server.config.imapd_message_limit}")
        if not session.compressed:
            found.append("COMPRESS=DEFLATE")
        return found
    if session.server.tls.offered and not session.asker.tls:
        found.append("STARTTLS")
    mechanisms = session.server.auth.known_offer(session.asker) or ()
    found += [f"AUTH={mechanism}" for mechanism in mechanisms]
    if not may_login(session):
        # RFC 9051 6.2.3: no password in the clear.
        found.append("LOGINDISABLED")
    return found


def may_login(session: "Session") -> bool:
    """LOGIN is PLAIN in other words, and may be used where that may."""
    return "PLAIN" in (session.server.auth.known_offer(session.asker) or ())
