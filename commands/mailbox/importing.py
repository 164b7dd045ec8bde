"""tubepost mailbox import: from a Maildir, mbox files, or another IMAP server. Run again, it goes on."""

import os
import ssl
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click

from tubepost.common.mailbox.interface import Account, Draft
from tubepost.common.mailbox.opening import check_name
from tubepost.common.mailbox.values import BadName

from tubepost.commands.accounts import EX_UNAVAILABLE, fail, faults
from tubepost.commands.mailbox.address import RemoteError, parse_address
from tubepost.commands.mailbox.intake import Intake, Item, Known, Source, SourceFolder, batches
from tubepost.commands.mailbox.maildir import MaildirSource, is_maildir
from tubepost.commands.mailbox.mbox import MboxSource
from tubepost.commands.mailbox.places import FOLDERS, Place, System, canonical, ensure, matches, warn
from tubepost.commands.mailbox.remote import Remote


class _Names:
    """What a folder of the source is called here."""

    def __init__(self, into: str, renamed: Sequence[str]) -> None:
        self._into = canonical(into.rstrip("/"))
        self._renamed = {}
        for word in renamed:
            old, equals, new = word.partition("=")
            if not equals or not old or not new:
                raise ValueError(f'"{word}": write --map OLD=NEW')
            self._renamed[canonical(old)] = canonical(new)

    def __call__(self, name: str) -> str:
        """Raises BadName."""
        if name in self._renamed:
            name = self._renamed[name]
        elif self._into:
            # What was the INBOX there is the folder itself.
            name = self._into if name == "INBOX" else f"{self._into}/{name}"
        check_name(name)
        return name


def _open(text: str, user: str, *, stdin: bool, insecure: bool, verify: bool, authorities: str | None) -> Source:
    address = parse_address(text)
    if address is None:
        if not os.path.exists(text):
            fail(f"{text}: there is no such file, and it is no address such as imaps://user@host")
        return MaildirSource(text) if is_maildir(text) else MboxSource(text)
    name = user or address.user
    if not name:
        fail("who is to log in there? Write imaps://user@host, or --user NAME")
    context = ssl.create_default_context(cafile=authorities)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    remote = Remote(address, insecure=insecure, context=context)
    try:
        remote.login(name, _password(name, address.host, stdin))
    except BaseException:
        remote.close()
        raise
    return remote


def _password(name: str, host: str, stdin: bool) -> str:
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        fail("there is no terminal to ask for the password on: use --stdin")
    return str(click.prompt(f"Password of {name} at {host}", hide_input=True))


@click.command("import")
@click.argument("account", metavar="ACCOUNT")
@click.argument("source", metavar="SOURCE")
@FOLDERS
@click.option("--into", default="", metavar="FOLDER", help="Below this folder; the INBOX of the source becomes itself.")
@click.option("--map", "renamed", multiple=True, metavar="OLD=NEW", help="One folder under another name.")
@click.option("--user", default="", help="Login at the other server, where it is not in the address.")
@click.option("--stdin", is_flag=True, help="Read the password from standard input; else it is asked for.")
@click.option("--ca-file", "authorities", type=click.Path(dir_okay=False, exists=True), help="Certificates to trust.")
@click.option("--verify/--no-verify", default=True, help="Is the certificate of the other server to be good?")
@click.option("--insecure", is_flag=True, help="Send the password in clear where the server has no TLS.")
@click.option("--subscribe/--no-subscribe", default=True, help="Take over subscriptions.  [default: subscribe]")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.pass_obj
def import_(
    directory: str,
    account: str,
    source: str,
    folders: tuple[str, ...],
    into: str,
    renamed: tuple[str, ...],
    user: str,
    stdin: bool,
    authorities: str | None,
    verify: bool,
    insecure: bool,
    subscribe: bool,
    dry_run: bool,
) -> None:
    """Bring mail into an account, with folders, flags and dates.

    SOURCE is a Maildir, an mbox file (its mail goes to the INBOX, or --into), a directory of files NAME.mbox, or
    another server: imaps://user@host, or imap://user@host for STARTTLS. Nothing is changed there. What is here already,
    by Message-ID and size, is not brought again, so an import that was interrupted is simply started once more.
    """
    system = System(directory)
    with faults():
        place = system.place(account)
        names = _Names(into, renamed)
        try:
            opened = _open(source, user, stdin=stdin, insecure=insecure, verify=verify, authorities=authorities)
        except RemoteError as error:
            fail(str(error), EX_UNAVAILABLE)
    try:
        with system.guard(place):
            target = system.open(place, create=True)
            assert target is not None
            try:
                _import(system, place, opened, target, names, folders, subscribe, dry_run)
            finally:
                target.close()
    finally:
        opened.close()
    system.finish()


def _import(
    system: System,
    place: Place,
    source: Source,
    target: Account,
    names: _Names,
    folders: Sequence[str],
    subscribe: bool,
    dry_run: bool,
) -> None:
    wanted = [one for one in source.folders() if not folders or _is_wanted(one, folders)]
    if not wanted:
        raise ValueError("no folder of the source matches")
    brought: dict[str, str] = {}
    for one in wanted:
        try:
            name = names(one.name)
        except BadName as error:
            system.fault(place.name, f"the folder {one.name} cannot be brought: {error}; use --map")
            continue
        _import_folder(system, place, source, one, target, name, dry_run)
        system.tell()
        brought[one.name] = name
    if subscribe and not dry_run:
        # A source that knows no subscriptions has none left out.
        for name in source.subscriptions() or brought:
            if name in brought:
                target.subscribe(brought[name])


def _is_wanted(folder: SourceFolder, patterns: Sequence[str]) -> bool:
    return any(matches(pattern, folder.name, folder.special) for pattern in patterns)


def _import_folder(
    system: System, place: Place, source: Source, one: SourceFolder, target: Account, name: str, dry_run: bool
) -> None:
    items = source.items(one)
    used = {use for info in target.folders() for use in info.special}
    special = [use for use in one.special if use not in used]
    there = name in (info.name for info in target.folders())
    if dry_run and not there:
        click.echo(f"{place.name}: {name}: would be made, {len(items)} messages would be brought")
        return
    folder = ensure(target, name, special, subscribe=False)
    if special and there:
        infos = {info.name: info for info in target.folders()}
        target.set_special(name, [*infos[name].special, *special])
    folder.sync()
    known = Known(folder)
    missing = [item for item in items if not known.take(item)]
    if dry_run:
        click.echo(
            f"{place.name}: {name}: {len(missing)} messages would be brought, {len(items) - len(missing)} are there"
        )
        return
    if not there:
        system.changed(target, name)
    intake = Intake(folder)
    try:
        with _progress(f"{place.name}: {name}", sum(item.size for item in missing)) as bar:
            for batch in batches(missing):
                _bring(source, one, batch, intake, bar)
                system.changed(target, name)
    except BaseException:
        intake.discard()
        if intake.count:
            warn(f"{place.name}: {name}: {intake.count} of {len(missing)} messages were brought: run it again")
        raise
    click.echo(f"{place.name}: {name}: {intake.count} messages brought, {len(items) - len(missing)} were there already")


def _bring(source: Source, one: SourceFolder, batch: Sequence[Item], intake: Intake, bar: Any) -> None:
    """In the order of the source, in whatever order they come."""
    came: list[tuple[Item, Draft]] = []
    broken: RemoteError | None = None
    try:
        for item, draft in source.fetch(one, batch, intake.make):
            came.append((item, draft))
            if bar is not None:
                bar.update(item.size)
    except RemoteError as error:
        # What came as a whole before the connection broke is not fetched again.
        broken = error
    except BaseException:
        for _, draft in came:
            draft.discard()
        raise
    order = {item.handle: number for number, item in enumerate(batch)}
    came.sort(key=lambda pair: order[pair[0].handle])
    for item, draft in came:
        intake.add(draft, item.flags, item.internal)
    intake.flush()
    if broken is not None:
        raise broken


def _progress(label: str, octets: int) -> AbstractContextManager[Any]:
    """By octets, on a terminal."""
    if not octets or not sys.stderr.isatty():
        return nullcontext()
    return click.progressbar(length=octets, label=label, file=sys.stderr)
