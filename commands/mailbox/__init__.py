"""tubepost mailbox: the mail of accounts, from the command line. One file for each kind of work:

============ ==========================================================================================================
places       which accounts and folders are meant; faults and exit status; telling those who have a mailbox open
folders      list, status, create, rename, delete
query        searches as a person types them
messages     search, copy, move, expunge
fetching     fetch
importing    import, from sources: maildir, mbox, remote (another IMAP server, at an address); intake puts messages into
             a folder
exporting    export
care         reindex, check, backup (the work is done in common/mailbox/maildir)
============ ==========================================================================================================
"""

import click

from tubepost.commands.mailbox import care, exporting, fetching, folders, importing, messages


@click.group()
def mailbox() -> None:
    """Mail in the mailboxes: folders, messages, import, export, check, backup."""


for _command in (
    folders.list_,
    folders.status,
    folders.create_,
    folders.rename,
    folders.delete,
    messages.search,
    fetching.fetch,
    messages.copy,
    messages.move,
    messages.expunge,
    importing.import_,
    exporting.export,
    care.reindex,
    care.check,
    care.backup,
):
    mailbox.add_command(_command)
