"""tubepost mailbox reindex, check, backup."""

import os
import sys
from contextlib import nullcontext
from typing import Any

import click

from tubepost.common.system import log
from tubepost.common.mailbox.interface import Account
from tubepost.common.mailbox.maildir import fulltext
from tubepost.common.mailbox.maildir.account import MaildirAccount
from tubepost.common.mailbox.maildir.backup import Backup
from tubepost.common.mailbox.maildir.check import Check

from tubepost.commands.accounts import print_json, print_size
from tubepost.commands.mailbox.places import ACCOUNTS, JSON, System, canonical, say


@click.command()
@ACCOUNTS
@click.option("-f", "--folder", default="", metavar="FOLDER", help="Read only this one now, all others when searched.")
@click.option("--summaries/--no-summaries", default=True, help="Envelopes and structures too.  [default: summaries]")
@click.pass_obj
def reindex(directory: str, patterns: tuple[str, ...], folder: str, summaries: bool) -> None:
    """Build the full-text index and the summaries of messages anew. Mail can be read meanwhile."""
    system = System(directory)
    for place, account in system.accounts(patterns):
        with system.guard(place):
            goal = sum(
                account.folder(info.name).status().messages
                for info in account.folders()
                if not folder or info.name == canonical(folder)
            )
            count = 0
            bar: Any = nullcontext()
            if goal and sys.stderr.isatty():
                bar = click.progressbar(length=goal, label=place.name, file=sys.stderr)
            with bar as shown:
                steps = fulltext.reindex(_maildir(account), canonical(folder) if folder else None, summaries=summaries)
                for _, done in steps:
                    count += done
                    if shown is not None:
                        shown.update(done)
            click.echo(f"{place.name}: {count} messages indexed")
    system.finish()


@click.command()
@ACCOUNTS
@click.option("--dry-run", is_flag=True, help="Only say what is wrong.")
@click.option("--read", is_flag=True, help="Read every message as well, and compare its size; slow.")
@JSON
@click.pass_obj
def check(directory: str, patterns: tuple[str, ...], dry_run: bool, read: bool, as_json: bool) -> None:
    """Compare the index with the files, and repair what is wrong.

    Messages that the index does not know, rows without a file, counters, entries that nobody refers to, work that was
    not finished when a process died, files in tmp older than 36 hours. No message is ever removed. Exit status 1 when
    something is wrong that was not repaired.
    """
    system = System(directory)
    found = []
    for place, account in system.accounts(patterns):
        with system.guard(place):
            count = 0
            for finding in Check(_maildir(account), repair=not dry_run, read=read).run():
                count += 1
                if as_json:
                    # A name that is not UTF-8 can be in no JSON.
                    found.append({"account": place.name, **finding._asdict(), "text": log.clean(finding.text)})
                else:
                    where = f"{place.name}: {finding.folder}: " if finding.folder else f"{place.name}: "
                    say(f"{where}{finding.text}{' (repaired)' if finding.repaired else ''}")
                if finding.repaired:
                    system.changed(account, finding.folder or "INBOX")
                else:
                    system.unrepaired()
            if not count and not as_json:
                click.echo(f"{place.name}: nothing is wrong")
    if as_json:
        print_json(found)
    system.finish()


@click.command()
@ACCOUNTS
@click.argument("target", type=click.Path(file_okay=False))
@click.option("--link/--copy", default=True, help="Hard links where the file system is the same.  [default: link]")
@JSON
@click.pass_obj
def backup(directory: str, patterns: tuple[str, ...], target: str, link: bool, as_json: bool) -> None:
    """Copy the mail of accounts to the directory TARGET/ACCOUNT, consistent in itself, while the system runs.

    \b
    Run it again with the same TARGET: only what is new is copied, what was renamed is
    renamed, and what is gone is removed there as well. For a backup that can be gone back
    to, take a new TARGET each day; on the same file system its messages are hard links
    and cost no room (they share the fate of the disk: use --copy for another one).

    \b
    To restore an account, so that UIDs, flags, keywords and all else are as they were:
      tubepost user disable alice@example.com      nobody logs in
      tubepost stop                                or make sure that nobody has it open
      mv MAILDIR MAILDIR.old
      cp -a TARGET/alice@example.com MAILDIR       with the owner that it had
      tubepost start; tubepost user enable alice@example.com
      tubepost mailbox check alice@example.com
    MAILDIR is what tubepost user show tells as path. Clients see that mail which came after
    the backup is gone; its UIDs are not given again. To bring back single messages:
      tubepost mailbox import alice@example.com TARGET/alice@example.com --into Restored
    """
    system = System(directory)
    done = []
    whose: dict[str, str] = {}
    for place, account in system.accounts(patterns):
        path = os.path.join(target, place.name.strip("/").replace("/", "_"))
        with system.guard(place):
            if f"{os.path.realpath(path)}/".startswith(f"{os.path.realpath(place.root)}/"):
                raise ValueError(f"{path} is the mailbox itself, or in it")
            if whose.setdefault(path, place.name) != place.name:
                raise ValueError(f"{path} is the backup of {whose[path]}: this one needs another TARGET")
            copied = Backup(_maildir(account), path, link=link).run()
            done.append({"account": place.name, "path": log.clean(path), **copied._asdict()})
            if not as_json:
                say(
                    f"{place.name}: {copied.messages} messages in {path}: {copied.fresh} new, {copied.gone} removed, "
                    f"{print_size(copied.octets) if copied.octets else 'nothing'} copied"
                )
    if as_json:
        print_json(done)
    system.finish()


def _maildir(account: Account) -> MaildirAccount:
    """These look into the files themselves. Raises ValueError."""
    if not isinstance(account, MaildirAccount):
        raise ValueError(f"{account.root} is not a Maildir: its store has means of its own for this")
    return account
