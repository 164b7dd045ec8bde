"""The commands, one verb a file, and the table by which the session finds them."""

from collections.abc import Mapping

from tubepost.services.imapd.commands import (
    acl,
    append,
    authenticate,
    basic,
    copy,
    expunge,
    fetch,
    folders,
    idle,
    listing,
    login,
    metadata,
    multisearch,
    notify,
    quota,
    replace,
    search,
    select,
    sort,
    status,
    store,
    urlauth,
)
from tubepost.services.imapd.commands.table import Entry, Updates

_ALL, _NO_EXPUNGE, _NONE = Updates.ALL, Updates.NO_EXPUNGE, Updates.NONE

COMMANDS: Mapping[bytes, Entry] = {
    # RFC 9051 6.1: any state
    b"CAPABILITY": Entry(basic.capability, "any"),
    b"NOOP": Entry(basic.noop, "any"),
    b"LOGOUT": Entry(basic.logout, "any", _NONE),
    b"ID": Entry(basic.identify, "any"),
    # RFC 9051 6.2: before the login
    b"STARTTLS": Entry(login.starttls, "before"),
    b"LOGIN": Entry(login.login, "before"),
    b"AUTHENTICATE": Entry(authenticate.authenticate, "before"),
    # RFC 9051 6.3
    b"ENABLE": Entry(basic.enable),
    b"COMPRESS": Entry(basic.compress),
    b"UNAUTHENTICATE": Entry(login.unauthenticate, "after", _NONE),
    b"SELECT": Entry(select.select, "after", _NONE),
    b"EXAMINE": Entry(select.examine, "after", _NONE),
    b"CREATE": Entry(folders.create),
    b"DELETE": Entry(folders.delete),
    b"RENAME": Entry(folders.rename),
    b"SUBSCRIBE": Entry(folders.subscribe),
    b"UNSUBSCRIBE": Entry(folders.unsubscribe),
    b"LIST": Entry(listing.list_mailboxes),
    b"LSUB": Entry(listing.lsub),
    b"NAMESPACE": Entry(listing.namespace),
    b"STATUS": Entry(status.status),
    b"APPEND": Entry(append.append),
    b"IDLE": Entry(idle.idle),
    # RFC 9208
    b"GETQUOTA": Entry(quota.get_quota),
    b"GETQUOTAROOT": Entry(quota.get_quota_root),
    b"SETQUOTA": Entry(quota.set_quota),
    # RFC 4314
    b"SETACL": Entry(acl.set_acl),
    b"DELETEACL": Entry(acl.delete_acl),
    b"GETACL": Entry(acl.get_acl),
    b"LISTRIGHTS": Entry(acl.list_rights),
    b"MYRIGHTS": Entry(acl.my_rights),
    # RFC 5464
    b"GETMETADATA": Entry(metadata.get_metadata),
    b"SETMETADATA": Entry(metadata.set_metadata),
    # RFC 5465
    b"NOTIFY": Entry(notify.notify),
    # RFC 4467
    b"GENURLAUTH": Entry(urlauth.generate),
    b"URLFETCH": Entry(urlauth.fetch),
    b"RESETKEY": Entry(urlauth.reset_key),
    # RFC 9051 6.4
    b"CHECK": Entry(basic.noop, "selected"),
    b"CLOSE": Entry(expunge.close, "selected", _NONE),
    b"UNSELECT": Entry(expunge.unselect, "selected", _NONE),
    b"EXPUNGE": Entry(expunge.expunge, "selected"),
    b"UID EXPUNGE": Entry(expunge.expunge, "selected"),
    b"FETCH": Entry(fetch.fetch, "selected", _NO_EXPUNGE),
    b"UID FETCH": Entry(fetch.fetch, "selected"),
    b"SEARCH": Entry(search.search, "selected", _NO_EXPUNGE),
    b"UID SEARCH": Entry(search.search, "selected"),
    # RFC 5256
    b"SORT": Entry(sort.sort, "selected", _NO_EXPUNGE),
    b"UID SORT": Entry(sort.sort, "selected"),
    b"THREAD": Entry(sort.thread, "selected", _NO_EXPUNGE),
    b"UID THREAD": Entry(sort.thread, "selected"),
    # RFC 5267
    b"CANCELUPDATE": Entry(sort.cancel_update, "selected"),
    # RFC 7377
    b"ESEARCH": Entry(multisearch.multisearch),
    b"STORE": Entry(store.store, "selected", _NO_EXPUNGE),
    b"UID STORE": Entry(store.store, "selected"),
    b"COPY": Entry(copy.copy, "selected"),
    b"UID COPY": Entry(copy.copy, "selected"),
    b"MOVE": Entry(copy.move, "selected"),
    b"UID MOVE": Entry(copy.move, "selected"),
    # RFC 8508
    b"REPLACE": Entry(replace.replace, "selected"),
    b"UID REPLACE": Entry(replace.replace, "selected"),
}

__all__ = ["COMMANDS", "Entry", "Updates"]
