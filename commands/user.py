"""tubepost user: the people who have a mailbox here, and their passwords."""

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from tubepost.common.accounts import Directory, StoredPassword, User
from tubepost.common.accounts.hashing import (
    cost_of,
    hash_application_password,
    hash_password,
    make_application_password,
    store,
)
from tubepost.common.accounts.passwords import SCOPES
from tubepost.common.config import Config

from tubepost.commands.accounts import (
    EX_NOUSER,
    fail,
    faults,
    new_password,
    open_directory,
    open_passwords,
    parse_size,
    print_json,
    print_rows,
    print_size,
)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_KIND = re.compile(r"\{([A-Za-z0-9.-]+)\}|\$([A-Za-z0-9-]+)\$")
_STDIN = click.option("--stdin", is_flag=True, help="Read the password from standard input.")
_RANDOM = click.option("--random", is_flag=True, help="Make a random password and print it.")
_JSON = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group()
def user() -> None:
    """People who have a mailbox here."""


@user.command()
@click.argument("name", metavar="USER@DOMAIN")
@click.option("--quota", default="0", help="Limit of the mailbox: 2G, 500M; none.")
@click.option("--quota-messages", default=0, type=click.IntRange(0), help="Limit of its number of messages.")
@click.option("--mailbox", default="", help="Maildir below virtual_mailbox_base.  [default: DOMAIN/USER/]")
@click.option("--home", default="", help="Home directory, if there is one besides the mailbox.")
@click.option("--uid", default=-1, type=int, help="Owner of the files; default: virtual_uid_maps.")
@click.option("--gid", default=-1, type=int, help="Group of the files; default: virtual_gid_maps.")
@click.option("--no-password", is_flag=True, help="Without one: only application passwords will do.")
@_STDIN
@_RANDOM
@click.pass_obj
def add(
    directory: str,
    name: str,
    quota: str,
    quota_messages: int,
    mailbox: str,
    home: str,
    uid: int,
    gid: int,
    no_password: bool,
    stdin: bool,
    random: bool,
) -> None:
    """Make a user. The password is asked for."""
    with open_directory(directory, write=True) as (config, accounts):
        if accounts.user(name) is not None:
            fail(f"there is a user {name} already")
        size = parse_size(quota)
        # Asked for and hashed first: a user without a password is not to be left behind.
        stored = None if no_password else store(new_password(name, stdin=stdin, random=random), cost_of(config))
        made = accounts.add_user(
            name,
            time.time(),
            mailbox=mailbox,
            home=home,
            uid=uid,
            gid=gid,
            quota_bytes=size,
            quota_messages=quota_messages,
        )
        with open_passwords(config) as passwords:
            passwords.delete_user(made.name)
            if stored is not None:
                passwords.set_password(made.name, stored, time.time())
        if uid >= 0:
            make_home(config.virtual_mailbox_base, made.mailbox, uid, gid)
        click.echo(f"{made.name}: added, mailbox {made.mailbox}")


def make_home(base: str, mailbox: str, uid: int, gid: int) -> None:
    """The mailbox's directory below ``base``, of an owner who may make nothing beside those of others. As root only;
    else left to be made by who may.
    """
    if os.geteuid() != 0:
        return
    path = os.path.join(base, mailbox).rstrip("/")
    above, _, name = mailbox.rstrip("/").rpartition("/")
    try:
        with _descend(base, above, make=True) as parent:
            # To be passed through, not to be looked into.
            os.fchmod(parent, os.fstat(parent).st_mode & 0o7777 | 0o011)
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
            try:
                os.fchown(fd, uid, gid)
            finally:
                os.close(fd)
    except OSError as error:
        click.echo(f"cannot make {path}: {error.strerror}; make it, owned by {uid}:{gid}", err=True)


@contextmanager
def _descend(base: str, path: str, *, make: bool = False) -> Iterator[int]:
    """A descriptor of a directory below ``base``, to which no link leads: what lies there belongs to others than root.

    ``make``: missing ones, to be passed through, as the owner of the one above would make them. Raises OSError.
    """
    fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in filter(None, path.split("/")):
            made = False
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=fd)
                    made = True
            below = os.open(name, _DIRECTORY, dir_fd=fd)
            above, fd = fd, below
            try:
                if made:
                    found = os.fstat(above)
                    os.fchown(fd, found.st_uid, found.st_gid)
                    os.fchmod(fd, 0o711)
            finally:
                os.close(above)
        yield fd
    finally:
        os.close(fd)


@user.command()
@click.argument("name", metavar="USER@DOMAIN")
@click.option("--hashed", is_flag=True, help="Standard input has a hash ({SCHEME}… or $id$…), taken over as it is.")
@_STDIN
@_RANDOM
@click.pass_obj
def passwd(directory: str, name: str, hashed: bool, stdin: bool, random: bool) -> None:
    """Change the password of a user. It is asked for."""
    with open_directory(directory) as (config, accounts):
        found = _need(accounts, name)
        password = new_password(found.name, stdin=stdin or hashed, random=random)
        stored = StoredPassword(password) if hashed else store(password, cost_of(config))
        with open_passwords(config) as passwords:
            passwords.set_password(found.name, stored, time.time())
        click.echo(f"{found.name}: password changed")


@user.command("list")
@click.argument("patterns", nargs=-1, metavar="[PATTERN...]")
@_JSON
@click.pass_obj
def list_(directory: str, patterns: tuple[str, ...], as_json: bool) -> None:
    """List the users, or those that match a PATTERN (*@example.com)."""
    with open_directory(directory) as (_, accounts):
        found = accounts.users(patterns or ("*",))
    if as_json:
        print_json([item._asdict() for item in found])
        return
    print_rows(
        ("USER", "STATE", "QUOTA", "MESSAGES", "MAILBOX"),
        [
            (
                item.name,
                "enabled" if item.enabled else "disabled",
                print_size(item.quota_bytes),
                str(item.quota_messages or "-"),
                item.mailbox,
            )
            for item in found
        ],
    )


@user.command()
@click.argument("name", metavar="USER@DOMAIN")
@_JSON
@click.pass_obj
def show(directory: str, name: str, as_json: bool) -> None:
    """Show all that is known of a user, but no secret."""
    with open_directory(directory) as (config, accounts):
        found = _need(accounts, name)
        facts: dict[str, Any] = found._asdict()
        facts["path"] = os.path.join(config.virtual_mailbox_base, found.mailbox)
        facts["aliases"] = [
            item.name for item in accounts.aliases() if found.name in (target.lower() for target in item.targets)
        ]
        with open_passwords(config) as passwords:
            stored = passwords.password(found.name)
            others = passwords.application_passwords(found.name)
    facts["password"] = _kinds(stored)
    facts["application_passwords"] = [item.label for item in others]
    if as_json:
        print_json(facts)
        return
    facts["created"] = _time(found.created)
    width = max(len(key) for key in facts)
    for key, value in facts.items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        click.echo(f"{key.replace('_', ' ').ljust(width)}  {text or '-'}")


def _kinds(stored: StoredPassword | None) -> list[str]:
    if stored is None:
        return []
    # DES's hash has no mark: nothing of it is to be shown.
    match = _KIND.match(stored.hash)
    scheme = (match[1] or match[2]) if match else "crypt"
    return [
        scheme,
        *(["SCRAM-SHA-1"] if stored.scram_sha_1 else []),
        *(["SCRAM-SHA-256"] if stored.scram_sha_256 else []),
    ]


@user.command()
@click.argument("patterns", nargs=-1, required=True, metavar="PATTERN...")
@click.pass_obj
def disable(directory: str, patterns: tuple[str, ...]) -> None:
    """Let users log in no more. Their mail is still delivered."""
    _change(directory, patterns, "disabled", enabled=False)


@user.command()
@click.argument("patterns", nargs=-1, required=True, metavar="PATTERN...")
@click.pass_obj
def enable(directory: str, patterns: tuple[str, ...]) -> None:
    """Let disabled users log in again."""
    _change(directory, patterns, "enabled", enabled=True)


@user.command()
@click.argument("patterns", nargs=-1, required=True, metavar="PATTERN...")
@click.option("--bytes", "size", default=None, help="2G, 500M; none.")
@click.option("--messages", default=None, type=click.IntRange(0), help="0: no limit.")
@click.pass_obj
def quota(directory: str, patterns: tuple[str, ...], size: str | None, messages: int | None) -> None:
    """Set how large mailboxes may grow."""
    with faults():
        fields: dict[str, int] = {}
        if size is not None:
            fields["quota_bytes"] = parse_size(size)
        if messages is not None:
            fields["quota_messages"] = messages
        if not fields:
            fail("say --bytes or --messages")
    _change(directory, patterns, "quota changed", **fields)


def _change(directory: str, patterns: tuple[str, ...], done: str, **fields: int | bool) -> None:
    with open_directory(directory, write=True) as (_, accounts):
        found = accounts.users(patterns)
        if not found:
            fail(f"no user matches {' '.join(patterns)}", EX_NOUSER)
        for item in found:
            accounts.change_user(item.name, **fields)
            click.echo(f"{item.name}: {done}")


@user.command()
@click.argument("name", metavar="USER@DOMAIN")
@click.option("--remove-mail/--keep-mail", default=False, help="Remove the mailbox too.  [default: keep]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(directory: str, name: str, remove_mail: bool, yes: bool) -> None:
    """Delete a user, and on request the mail."""
    with open_directory(directory, write=True) as (config, accounts):
        found = _need(accounts, name)
        path = _mailbox_path(config, found)
        if not yes:
            if not sys.stdin.isatty():
                fail("there is no terminal to ask on: use --yes")
            what = f"and all mail in {path}" if remove_mail else f"and keep the mail in {path}"
            click.confirm(f"Delete {found.name} {what}?", abort=True)
        accounts.delete_user(found.name)
        with open_passwords(config) as passwords:
            passwords.delete_user(found.name)
        for item in accounts.aliases():
            if found.name in (target.lower() for target in item.targets):
                click.echo(f"tubepost: the alias {item.name} still goes to {found.name}", err=True)
        kept = f"; its mail is kept in {path}"
        if remove_mail:
            if os.path.isdir(path):
                above, _, last = found.mailbox.rstrip("/").rpartition("/")
                with _descend(config.virtual_mailbox_base, above) as parent:
                    shutil.rmtree(last, dir_fd=parent)
            kept = "; its mail is removed"
        click.echo(f"{found.name}: deleted{kept if os.path.isdir(path) or remove_mail else ''}")


def _mailbox_path(config: Config, found: User) -> str:
    """Raises ValueError where it would be no directory below virtual_mailbox_base."""
    if not config.virtual_mailbox_base:
        raise ValueError("virtual_mailbox_base is not set: it is not known where the mail is")
    base = os.path.realpath(config.virtual_mailbox_base)
    path = os.path.join(base, found.mailbox).rstrip("/")
    if os.path.realpath(path) != path or not path.startswith(f"{base}/"):
        raise ValueError(f"the mailbox {path} is not where it seems: a link is on the way to it")
    return path


def _need(accounts: Directory, name: str) -> User:
    found = accounts.user(name)
    if found is None:
        fail(f"there is no user {name}", EX_NOUSER)
    return found


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else "-"


# -- application passwords ---------------------------------------------------------------------------------------------


@user.group("app-password")
def application_password() -> None:
    """Further passwords of a user, one a program or device, each for some services."""


@application_password.command("add")
@click.argument("name", metavar="USER@DOMAIN")
@click.argument("label")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="What it is for.  [default: all]")
@click.pass_obj
def add_application_password(directory: str, name: str, label: str, scopes: tuple[str, ...]) -> None:
    """Make a password and print it, once. LABEL says which device it is for."""
    with open_directory(directory) as (config, accounts):
        found = _need(accounts, name)
        password = make_application_password()
        with open_passwords(config) as passwords:
            if not passwords.add_application_password(
                found.name, label, hash_application_password(password), scopes, time.time()
            ):
                fail(f'{found.name} has an application password "{label}" already')
    click.echo(password)


@application_password.command("list")
@click.argument("name", metavar="USER@DOMAIN")
@_JSON
@click.pass_obj
def list_application_passwords(directory: str, name: str, as_json: bool) -> None:
    """List the application passwords of a user, with what they are for and when they were last used."""
    with open_directory(directory) as (config, accounts):
        found = _need(accounts, name)
        with open_passwords(config) as passwords:
            items = passwords.application_passwords(found.name)
    if as_json:
        keys = ("label", "scopes", "created", "last_use", "last_client")
        print_json([{key: getattr(item, key) for key in keys} for item in items])
        return
    print_rows(
        ("LABEL", "FOR", "CREATED", "LAST USE", "FROM"),
        [
            (
                item.label,
                ",".join(item.scopes) or "all",
                _time(item.created),
                _time(item.last_use),
                item.last_client or "-",
            )
            for item in items
        ],
    )


@application_password.command("delete")
@click.argument("name", metavar="USER@DOMAIN")
@click.argument("label")
@click.pass_obj
def delete_application_password(directory: str, name: str, label: str) -> None:
    """Delete an application password: it is refused from now on."""
    with open_directory(directory) as (config, accounts):
        found = _need(accounts, name)
        with open_passwords(config) as passwords:
            if not passwords.delete_application_password(found.name, label):
                fail(f'{found.name} has no application password "{label}"', EX_NOUSER)
    click.echo(f"{found.name}: {label} deleted")


# -- master users ------------------------------------------------------------------------------------------------------


@user.group()
def master() -> None:
    """Master users: each may log in as any user, as USER*MASTER with the master's password."""


@master.command("add")
@click.argument("name", metavar="MASTER")
@_STDIN
@_RANDOM
@click.pass_obj
def add_master(directory: str, name: str, stdin: bool, random: bool) -> None:
    """Make a master user, or change its password."""
    with open_directory(directory, write=True) as (config, _):
        separator = config.auth_master_user_separator
        if not name.strip() or (separator and separator in name):
            fail(f'"{name}" cannot be the name of a master user')
        hashed = hash_password(new_password(name, stdin=stdin, random=random), cost_of(config))
        with open_passwords(config) as passwords:
            passwords.set_master(name, hashed, time.time())
    click.echo(f"{name}: may log in as any user")


@master.command("list")
@_JSON
@click.pass_obj
def list_masters(directory: str, as_json: bool) -> None:
    """List the master users."""
    with open_directory(directory, write=True) as (config, _), open_passwords(config) as passwords:
        found = passwords.masters()
    if as_json:
        print_json([{"name": name, "created": created} for name, created in found])
    else:
        print_rows(("MASTER", "CREATED"), [(name, _time(created)) for name, created in found])


@master.command("delete")
@click.argument("name", metavar="MASTER")
@click.pass_obj
def delete_master(directory: str, name: str) -> None:
    """Delete a master user."""
    with open_directory(directory, write=True) as (config, _), open_passwords(config) as passwords:
        if not passwords.delete_master(name):
            fail(f"there is no master user {name}", EX_NOUSER)
    click.echo(f"{name}: deleted")
