"""tubepost mailbox list, status, create, rename, delete."""

import sys
from typing import Any

import click

from tubepost.common.system import log
from tubepost.common.mailbox.interface import Account
from tubepost.common.mailbox.values import SEPARATOR, FolderInfo

from tubepost.commands.accounts import fail, print_json, print_rows, print_size
from tubepost.commands.mailbox.places import ACCOUNTS, FOLDERS, JSON, System, canonical, create, matching, say

_USES = {use.lower(): use for use in ("\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash")}


def _facts(name: str, account: Account, info: FolderInfo) -> dict[str, Any]:
    folder = account.folder(info.name)
    folder.sync()
    status = folder.status()
    return {
        "account": name,
        "folder": info.name,
        "special_use": list(info.special),
        "subscribed": info.name in account.subscriptions(),
        "messages": status.messages,
        "unseen": status.unseen,
        "deleted": status.deleted,
        "size": status.size,
        "uidnext": status.uidnext,
        "uidvalidity": folder.uidvalidity,
        "highestmodseq": status.modseq,
        "mailboxid": folder.mailboxid,
    }


def _collect(system: System, patterns: tuple[str, ...], folders: tuple[str, ...]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for place, account in system.accounts(patterns):
        with system.guard(place):
            found += [_facts(place.name, account, info) for info in matching(account, folders)]
    return found


@click.command("list")
@ACCOUNTS
@FOLDERS
@JSON
@click.pass_obj
def list_(directory: str, patterns: tuple[str, ...], folders: tuple[str, ...], as_json: bool) -> None:
    """List the folders of accounts."""
    system = System(directory)
    found = _collect(system, patterns, folders)
    if as_json:
        keys = ("account", "folder", "special_use", "subscribed", "messages", "unseen", "size")
        print_json([{key: facts[key] for key in keys} for facts in found])
    else:
        print_rows(
            ("ACCOUNT", "FOLDER", "USE", "MESSAGES", "UNSEEN", "SIZE"),
            [
                (
                    facts["account"],
                    log.clean(facts["folder"]),
                    " ".join(facts["special_use"]) or "-",
                    str(facts["messages"]),
                    str(facts["unseen"]),
                    print_size(facts["size"]),
                )
                for facts in found
            ],
        )
    system.finish()


@click.command()
@ACCOUNTS
@FOLDERS
@JSON
@click.pass_obj
def status(directory: str, patterns: tuple[str, ...], folders: tuple[str, ...], as_json: bool) -> None:
    """Show what IMAP's STATUS tells of folders: messages, UIDs, modification sequences, ids."""
    system = System(directory)
    found = _collect(system, patterns, folders)
    if as_json:
        print_json(found)
    else:
        keys = ("messages", "unseen", "deleted", "size", "uidnext", "uidvalidity", "highestmodseq", "mailboxid")
        print_rows(
            ("ACCOUNT", "FOLDER", *(key.upper() for key in keys)),
            [(facts["account"], log.clean(facts["folder"]), *(str(facts[key]) for key in keys)) for facts in found],
        )
    system.finish()


@click.command("create")
@ACCOUNTS
@click.argument("folder")
@click.option("--special-use", default="", metavar="\\USE", help="\\Sent, \\Drafts, \\Trash, \\Junk, \\Archive.")
@click.option("--subscribe/--no-subscribe", default=True, help="Have mail programs show it.  [default: subscribe]")
@click.pass_obj
def create_(directory: str, patterns: tuple[str, ...], folder: str, special_use: str, subscribe: bool) -> None:
    """Make a folder in accounts."""
    system = System(directory)
    use = _USES.get("\\" + special_use.lstrip("\\").lower(), "") if special_use else ""
    if special_use and not use:
        fail(f"{special_use} is no special use: {', '.join(_USES.values())}")
    for place, account in system.accounts(patterns, create=True):
        with system.guard(place):
            name = canonical(folder)
            if use and any(use in info.special for info in account.folders()):
                raise ValueError(f"there is a folder for {use} already")
            create(account, name, [use] if use else [])
            if subscribe:
                account.subscribe(name)
            system.changed(account, name)
            say(f"{place.name}: {name} made")
    system.finish()


@click.command()
@ACCOUNTS
@click.argument("old")
@click.argument("new")
@click.pass_obj
def rename(directory: str, patterns: tuple[str, ...], old: str, new: str) -> None:
    """Rename a folder and those below it. INBOX gives its messages to the new folder and stays."""
    system = System(directory)
    for place, account in system.accounts(patterns):
        with system.guard(place):
            before = canonical(old)
            account.rename(before, canonical(new))
            # Who was subscribed to it wants it under its new name.
            for name in account.subscriptions():
                if before != "INBOX" and (name == before or name.startswith(before + SEPARATOR)):
                    account.subscribe(name, False)
                    account.subscribe(new + name[len(before) :])
            system.changed(account, before)
            system.changed(account, canonical(new))
            say(f"{place.name}: {before} is now {canonical(new)}")
    system.finish()


@click.command()
@ACCOUNTS
@click.argument("folder")
@click.option("--recursive", is_flag=True, help="And the folders below it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(directory: str, patterns: tuple[str, ...], folder: str, recursive: bool, yes: bool) -> None:
    """Delete a folder and the messages in it. FOLDER may be a glob."""
    system = System(directory)
    for place, account in system.accounts(patterns):
        with system.guard(place):
            wanted = [info.name for info in matching(account, [folder])]
            if recursive:
                tops = tuple(name + SEPARATOR for name in wanted)
                wanted += [info.name for info in account.folders() if info.name.startswith(tops)]
            wanted = [name for name in dict.fromkeys(wanted) if name != "INBOX"]
            if not wanted:
                raise ValueError("INBOX cannot be deleted" if folder.upper() == "INBOX" else f"no folder is {folder}")
            for name in wanted:
                found = account.folder(name)
                found.sync()
                messages = found.status().messages
                if messages and not yes:
                    if not sys.stdin.isatty():
                        raise ValueError(
                            f"{name} has {messages} messages and there is no terminal to ask on: use --yes"
                        )
                    click.confirm(f"{place.name}: delete {log.clean(name)} and its {messages} messages?", abort=True)
                account.delete(name)
                account.subscribe(name, False)
                system.changed(account, name)
                say(f"{place.name}: {name} deleted, {messages} messages")
    system.finish()
