"""What Dovecot and Courier keep beside the mail, read once when an index is built: UIDs, keywords, subscriptions.

Dovecot's files by its documentation (design/formats, Maildir): ``dovecot-uidlist`` version 3, ``dovecot-keywords``,
``subscriptions`` (versions 1 and 2); Courier's ``courierimapsubscribed``.
"""

import os
import re
from dataclasses import dataclass, field

from tubepost.common.imap.parse import KEYWORD_LIMIT

from tubepost.common.mailbox.maildir.names import KEYWORD_LETTERS, decode_part
from tubepost.common.mailbox.maildir.reading import open_file
from tubepost.common.mailbox.values import SEPARATOR

_HEADER = re.compile(r"3((?: [A-Z]\S*)*)\s*")
# str.isdigit knows digits that int does not, and int refuses numbers of thousands of digits.
_NUMBER = re.compile(r"[0-9]{1,10}")
# RFC 9051 9: an atom; sets of flags are kept with spaces between them.
_KEYWORD = re.compile(rf'[^\x00-\x20\x7f-\U0010ffff(){{%*"\\\]]{{1,{KEYWORD_LIMIT}}}')
_LARGEST_UID = 0xFFFFFFFE
# More than any real list: 200,000 messages make about 20 MB.
_LARGEST_FILE = 256 * 1024 * 1024


@dataclass(slots=True)
class UidList:
    """``uids``: unique part of the file name to UID."""

    uidvalidity: int
    uidnext: int
    uids: dict[str, int] = field(default_factory=dict)


def _read(path: str) -> str | None:
    try:
        with open(open_file(path), "rb") as file:
            if os.fstat(file.fileno()).st_size > _LARGEST_FILE:
                return None
            return file.read().decode("utf-8", "surrogateescape")
    except OSError:
        return None


def read_uidlist(directory: str) -> UidList | None:
    """None where there is none, or none that can be understood."""
    text = _read(f"{directory}/dovecot-uidlist")
    if not text:
        return None
    first, _, rest = text.partition("\n")
    match = _HEADER.fullmatch(first)
    if match is None:
        return None
    values = {word[0]: word[1:] for word in match[1].split()}
    if not (_NUMBER.fullmatch(values.get("V", "")) and _NUMBER.fullmatch(values.get("N", ""))):
        return None
    found = UidList(int(values["V"]), int(values["N"]))
    if not 0 < found.uidvalidity <= 0xFFFFFFFF or found.uidnext > _LARGEST_UID:
        return None
    last = 0
    for line in rest.split("\n"):
        number, _, name = line.partition(" :")
        number = number.partition(" ")[0]
        if not name or not _NUMBER.fullmatch(number):
            continue
        uid = int(number)
        # Ascending, as they were given out: anything else is not to be believed.
        if last < uid <= _LARGEST_UID:
            found.uids[name.partition(":2,")[0]] = last = uid
    found.uidnext = max(found.uidnext, last + 1)
    return found


def read_keywords(directory: str) -> dict[str, str]:
    """Letter to keyword."""
    found = {}
    for line in (_read(f"{directory}/dovecot-keywords") or "").splitlines():
        number, _, name = line.partition(" ")
        if _NUMBER.fullmatch(number) and int(number) < len(KEYWORD_LETTERS) and _KEYWORD.fullmatch(name):
            found[KEYWORD_LETTERS[int(number)]] = name
    return found


def read_subscriptions(root: str) -> list[str]:
    """Names of folders, in the store's spelling."""
    text = _read(f"{root}/subscriptions")
    if text is not None:
        lines = text.splitlines()
        if lines and lines[0].startswith("V\t2"):
            names = [line.replace("\t", SEPARATOR) for line in lines[1:]]
        else:
            names = [line.replace(".", SEPARATOR) for line in lines]
    else:
        lines = (_read(f"{root}/courierimapsubscribed") or "").splitlines()
        names = [line.removeprefix("INBOX.").replace(".", SEPARATOR) for line in lines]
    found = []
    for name in names:
        try:
            found.append(SEPARATOR.join(decode_part(part) for part in name.split(SEPARATOR)))
        except ValueError:
            continue
    return [name for name in found if name]
