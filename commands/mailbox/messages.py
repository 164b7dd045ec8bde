"""tubepost mailbox search, copy, move, expunge: messages by an IMAP search."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click
from tubepost.common.imap.search import Key

from tubepost.common.system import log
from tubepost.common.mailbox.interface import Account, Folder
from tubepost.common.mailbox.store import NoSuchMessage

from tubepost.commands.accounts import faults, print_json
from tubepost.commands.mailbox.intake import transfer
from tubepost.commands.mailbox.places import FOLDERS, JSON, Place, System, canonical, ensure, matching, say
from tubepost.commands.mailbox.query import HELP, QUERY, find, parse

# Messages that are copied at once: all or none of them.
_BATCH = 500
_WHERE = click.option(
    "-f",
    "--folder",
    "folders",
    multiple=True,
    required=True,
    metavar="FOLDER",
    help="Of which folders (Trash, Work/*, \\Junk, *).",
)
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Only say what would be done.")


@dataclass(frozen=True, slots=True)
class _Order:
    """What of an account goes where."""

    folders: Sequence[str]
    key: Key
    target: str
    move: bool
    dry_run: bool

    @property
    def done(self) -> str:
        word = "moved" if self.move else "copied"
        return f"would be {word}" if self.dry_run else word


def _parse(words: Sequence[str]) -> Key:
    with faults():
        return parse(words)


def _found(account: Account, folders: Sequence[str], key: Key) -> Iterator[tuple[Folder, list[int]]]:
    for info in matching(account, folders):
        folder = account.folder(info.name)
        uids = find(folder, key)
        if uids:
            yield folder, uids


@click.command(epilog=HELP)
@click.argument("account", metavar="ACCOUNT")
@QUERY
@FOLDERS
@JSON
@click.pass_obj
def search(directory: str, account: str, query: tuple[str, ...], folders: tuple[str, ...], as_json: bool) -> None:
    """Find messages; ACCOUNT may be a glob. One line a message: account, folder and UID, parted by tabs."""
    key = _parse(query)
    system = System(directory)
    found = []
    for place, opened in system.accounts([account]):
        with system.guard(place):
            for folder, uids in _found(opened, folders, key):
                if as_json:
                    found.append({"account": place.name, "folder": folder.name, "uids": uids})
                else:
                    name = log.clean(folder.name)
                    click.echo("\n".join(f"{place.name}\t{name}\t{uid}" for uid in uids))
    if as_json:
        print_json(found)
    system.finish()


def _to_target(command: Callable[..., None]) -> Callable[..., None]:
    """What copy and move are told."""
    for option in (
        _DRY_RUN,
        click.option("--to", "receiver", default="", metavar="ACCOUNT", help="Into TARGET of another account."),
        _WHERE,
        QUERY,
        click.argument("target", metavar="TARGET"),
        click.argument("account", metavar="ACCOUNT"),
    ):
        command = option(command)
    return command


@click.command(epilog=HELP)
@_to_target
@click.pass_obj
def copy(directory: str, /, **asked: Any) -> None:
    """Copy messages into the folder TARGET, which is made when it is missing. ACCOUNT may be a glob."""
    _transfer(directory, move=False, **asked)


@click.command(epilog=HELP)
@_to_target
@click.pass_obj
def move(directory: str, /, **asked: Any) -> None:
    """Move messages into the folder TARGET, which is made when it is missing. ACCOUNT may be a glob."""
    _transfer(directory, move=True, **asked)


def _transfer(
    directory: str,
    *,
    account: str,
    target: str,
    query: tuple[str, ...],
    folders: tuple[str, ...],
    receiver: str,
    dry_run: bool,
    move: bool,
) -> None:
    order = _Order(folders, _parse(query), canonical(target), move, dry_run)
    system = System(directory)
    other = system.place(receiver) if receiver else None
    for place, opened in system.accounts([account]):
        with system.guard(place):
            if other is None or other.root == place.root:
                _within(system, place, opened, order)
                continue
            if dry_run:
                for folder, uids in _found(opened, order.folders, order.key):
                    _tell(place, folder, uids, order, other)
                continue
            there = system.open(other, create=True)
            assert there is not None
            try:
                _across(system, place, opened, other, there, order)
            finally:
                there.close()
    system.finish()


def _tell(place: Place, folder: Folder, uids: Sequence[int], order: _Order, other: Place | None = None) -> None:
    where = f"{order.target} of {other.name}" if other is not None else order.target
    say(f"{place.name}: {len(uids)} messages of {folder.name} {order.done} into {where}")


def _within(system: System, place: Place, account: Account, order: _Order) -> None:
    name = order.target
    # All are found before anything is changed: the target may itself be one of the folders.
    for folder, uids in list(_found(account, order.folders, order.key)):
        # A folder's messages into itself are hardly meant where folders are given by glob.
        if folder.name == name and (order.move or tuple(order.folders) != (name,)):
            continue
        if order.dry_run:
            _tell(place, folder, uids, order)
            continue
        target = ensure(account, name)
        for start in range(0, len(uids), _BATCH):
            some = uids[start : start + _BATCH]
            try:
                _copy_or_move(folder, some, target, order.move)
            except NoSuchMessage:
                # Renamed by another program just now: the second look knows.
                folder.sync()
                _copy_or_move(folder, some, target, order.move)
        system.changed(account, folder.name)
        system.changed(account, name)
        _tell(place, folder, uids, order)


def _copy_or_move(folder: Folder, uids: Sequence[int], target: Folder, move: bool) -> None:
    if move:
        folder.move(uids, target)
    else:
        folder.copy(uids, target)


def _across(system: System, place: Place, account: Account, other: Place, there: Account, order: _Order) -> None:
    name = order.target
    for folder, uids in list(_found(account, order.folders, order.key)):
        target = ensure(there, name)
        for start in range(0, len(uids), _BATCH):
            arrived = transfer(folder, uids[start : start + _BATCH], target)
            if order.move:
                folder.remove(arrived)
        system.changed(account, folder.name)
        system.changed(there, name)
        _tell(place, folder, uids, order, other)


@click.command(epilog=HELP)
@click.argument("account", metavar="ACCOUNT")
@QUERY
@_WHERE
@_DRY_RUN
@click.option("--yes", is_flag=True, help="Do not ask before all of a folder is removed.")
@click.pass_obj
def expunge(
    directory: str, account: str, query: tuple[str, ...], folders: tuple[str, ...], dry_run: bool, yes: bool
) -> None:
    """Remove messages for good, whatever their flags are. ACCOUNT may be a glob.

    tubepost mailbox expunge '*@example.com' -f '\\Trash' -f '\\Junk' older 2592000
    """
    key = _parse(query)
    system = System(directory)
    for place, opened in system.accounts([account]):
        with system.guard(place):
            for folder, uids in _found(opened, folders, key):
                if dry_run:
                    say(f"{place.name}: {len(uids)} messages of {folder.name} would be removed")
                    continue
                if len(uids) == folder.status().messages and folder.name == "INBOX" and not yes:
                    _confirm(place, folder, len(uids))
                gone = folder.remove(uids)
                system.changed(opened, folder.name)
                say(f"{place.name}: {len(gone)} messages of {folder.name} removed")
    system.finish()


def _confirm(place: Place, folder: Folder, count: int) -> None:
    """Raises ValueError: nobody can be asked."""
    if not sys.stdin.isatty():
        raise ValueError(f"all {count} messages of {folder.name} match and there is no terminal to ask on: use --yes")
    click.confirm(f"Remove all {count} messages of {folder.name} of {place.name}?", abort=True)
