"""Special uses of mailboxes (RFC 6154), and those that an account gets when it is first opened."""

from tubepost.common.mailbox.interface import Account
from tubepost.common.mailbox.store import FolderExists
from tubepost.common.mailbox.values import BadName

SPECIAL_USES = {name.lower(): name for name in ("\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash")}
"""RFC 6154 2, without \\All and \\Flagged: of those the server would have to make the content."""


def parse_folders(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """``Papierkorb=\\Trash`` or ``Trash`` into name and use; a name that tells no use has none."""
    found = []
    for word in words:
        name, equals, use = word.partition("=")
        found.append((name, SPECIAL_USES.get((use if equals else f"\\{name}").lower(), "")))
    return found


def make_folders(account: Account, wanted: list[tuple[str, str]]) -> None:
    """Once in the life of an account: what its owner removes later does not come again."""
    if account.is_furnished:
        return
    folders = {info.name: info for info in account.folders()}
    used = {use for info in folders.values() for use in info.special}
    for name, use in wanted:
        if use and use in used:
            continue
        if name in folders:
            # It came with a mailbox of another server.
            if use:
                account.set_special(name, [*folders[name].special, use])
            continue
        try:
            account.create(name, [use] if use else [])
        except (FolderExists, BadName):
            continue
        account.subscribe(name)
    if "INBOX" not in account.subscriptions():
        account.subscribe("INBOX")
    account.note_furnished()
