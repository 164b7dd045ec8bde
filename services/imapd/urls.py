"""Which mailbox a URL names, and who may use it (RFC 4467).

Each mailbox has a key of its own, made when first needed and kept in the index of its account; a URL's token is made of
it and of the URL itself, so forging one takes the key and changing one breaks it.
"""

import hashlib
import hmac
import secrets
import time
from typing import TYPE_CHECKING

from tubepost.common.imap.url import BadUrl, Url

from tubepost.common.mailbox.interface import Account, Folder

from tubepost.services.imapd import places

if TYPE_CHECKING:
    from tubepost.services.imapd.session import Session

MECHANISM = "INTERNAL"
_KEY = "urlauth"
# RFC 4467 9: a random key of 128 bits at least.
_KEY_OCTETS = 32
# The first octet of a token: which algorithm made it (RFC 4467 9: SHOULD).
_ALGORITHM = "01"


async def where(session: "Session", found: Url) -> str:
    """The mailbox as this session calls it. Raises BadUrl."""
    if not found.mailbox:
        if session.selected is None:
            raise BadUrl("The URL names no mailbox")
        return session.selected.name
    assert session.user is not None
    if not found.user:
        return found.mailbox
    owner = await session.server.user_of_url(found.user, found.host)
    if owner is None:
        raise BadUrl("There is no such mailbox")
    return found.mailbox if owner.name == session.user.name else places.join(session, owner.name, found.mailbox)


def token(key: bytes, rump: bytes) -> str:
    """RFC 4467 9: over the URL up to the access identifier."""
    return _ALGORITHM + hmac.new(key, rump, hashlib.sha256).hexdigest()


def key_of(account: Account, folder: Folder, *, make: bool) -> bytes | None:
    """Under the lock of the account."""
    key = account.annotations(folder.id).get(_KEY)
    if key is None and make:
        key = secrets.token_bytes(_KEY_OCTETS)
        account.annotate(folder.id, _KEY, key)
    return key


def forget_key(account: Account, folder: int) -> None:
    """All URLs that were made of it are void from now on (RFC 4467 8 RESETKEY)."""
    account.annotate(folder, _KEY, None)


def may_use(session: "Session", found: Url, owner: str) -> bool:
    """Does the access identifier let this user in (RFC 4467 3)? ``owner``: whose mailbox it is; a user whom it names
    without a domain is one of the owner's.

    ``submit+…`` is for a submission server that asks for the user, and there is none here that does.
    """
    assert session.user is not None
    kind, _, name = found.access.partition("+")
    match kind.lower():
        case "anonymous" | "authuser":
            return True
        case "user":
            user = session.user.name
            # RFC 3987: its octets are those of UTF-8.
            name = name.encode("latin-1").decode("utf-8", "replace")
            return user in (name, f"{name}@{owner.partition('@')[2]}")
        case _:
            return False


def is_valid(found: Url, key: bytes | None) -> bool:
    """The token fits, and its time is not over."""
    if key is None or found.mechanism != MECHANISM or not found.token:
        return False
    if found.expire is not None and found.expire < time.time():
        return False
    return hmac.compare_digest(token(key, found.rump), found.token)
