"""What the commands of ``tubepost mailbox`` share: accounts and folders by glob, faults by account, words to notify.

They work on the mailboxes themselves, so the system may run or not; what they change is told to those who have it open.
As root they act as the owner of the mailbox, as imapd does.
"""

import asyncio
import fnmatch
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import click
from tubepost.common.imap.names import parents

from tubepost.common.wire import auth, notify
from tubepost.common.system import log
from tubepost.common.accounts import AccountsError, Directory, User, fold_name
from tubepost.common.bus import Bus, BusError, Refusal
from tubepost.common.config import Config, load
from tubepost.common.mailbox.interface import Account, Folder
from tubepost.common.mailbox.opening import exists, open_account
from tubepost.common.mailbox.store import FolderExists, NoSuchFolder, NoSuchMessage
from tubepost.common.mailbox.trouble import IndexTrouble, is_corrupt
from tubepost.common.mailbox.values import BadName, FolderInfo
from tubepost.common.tables import Maps, TableEnvironment, TableError, address

from tubepost.commands.accounts import EX_DATAERR, EX_NOUSER, EX_UNAVAILABLE, fail, faults
from tubepost.commands.console import EX_TEMPFAIL, knock, leads_to, public_path

Answer = TypeVar("Answer")

EX_PARTLY = 1
# For what runs beside us, seconds.
_PATIENCE = 2.0
_GLOB = frozenset("*?[")

JSON = click.option("--json", "as_json", is_flag=True, help="For programs.")
ACCOUNTS = click.argument("patterns", nargs=-1, required=True, metavar="ACCOUNT...")
FOLDERS = click.option(
    "-f", "--folder", "folders", multiple=True, metavar="FOLDER", help="Only folders that match (Work/*, \\Sent)."
)


class Place(NamedTuple):
    """Where the mail of an account is. ``owner``: uid and gid of its files; None: we are whoever we are.

    ``is_named``: the account itself was asked for, and not what a glob finds.
    """

    name: str
    root: str
    owner: tuple[int, int] | None
    is_named: bool = True


class System:
    """One run of a command: ``accounts``, ``guard`` for the work on each, and at last ``finish``."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        # What the store has to say.
        log.setup("tubepost")
        with faults():
            self.config: Config = load(directory)
        self._changed: dict[tuple[str, str], None] = {}
        self._faults: list[int] = []
        self._done = 0

    # Accounts

    def places(self, patterns: Sequence[str]) -> list[Place]:
        """The accounts that match any of the patterns; the command ends when there is none for one of them.

        A pattern is a glob on the names of the built-in accounts, the whole name of an account of any backend (auth is
        asked), or the absolute path of a Maildir.
        """
        found: dict[str, Place] = {}
        with faults():
            for pattern in patterns:
                places = self._by_path(pattern) if pattern.startswith("/") else self._by_name(pattern)
                if not places:
                    fail(f"no account matches {pattern}", EX_NOUSER)
                found.update((place.root, place) for place in places)
        return list(found.values())

    def place(self, name: str) -> Place:
        """The one account that is meant; the command ends when there is none or are several."""
        found = self.places([name])
        if len(found) > 1:
            fail(f"{name} matches {len(found)} accounts: one is wanted")
        return found[0]

    def _by_path(self, path: str) -> list[Place]:
        root = path.rstrip("/")
        if not os.path.isdir(f"{root}/cur"):
            return []
        # Its name is what is printed: a path may have anything in it.
        return [Place(log.clean(root), root, _owner_at(root) if os.geteuid() == 0 else None)]

    def _by_name(self, pattern: str) -> list[Place]:
        users: list[User] = []
        trouble: AccountsError | None = None
        try:
            with Directory(self.config.accounts_directory) as accounts:
                users = accounts.users([pattern])
        except AccountsError as error:
            # Without built-in accounts there are those of other backends.
            if not _GLOB.isdisjoint(pattern):
                raise
            trouble = error
        if users or not _GLOB.isdisjoint(pattern):
            return [self._of_user(user, _GLOB.isdisjoint(pattern)) for user in users]
        try:
            found = self._ask(pattern)
        except (BusError, OSError) as error:
            if isinstance(error, Refusal) or any(backend != "accounts" for backend in self.config.auth_backends):
                why = error if isinstance(error, Refusal) else "auth, which would know, does not answer"
                fail(f"{pattern}: it cannot be told now whether there is such an account: {why}", EX_TEMPFAIL)
            if trouble is not None:
                raise trouble from None
            return []
        if found is None:
            return []
        return [Place(found.name, found.mailbox.rstrip("/"), self._owner(found.name, found.uid, found.gid))]

    def _of_user(self, user: User, is_named: bool) -> Place:
        base = self.config.virtual_mailbox_base
        if not base:
            raise ValueError("virtual_mailbox_base is not set: it is not known where the mail is")
        root = os.path.join(base, user.mailbox).rstrip("/")
        return Place(user.name, root, self._owner(user.name, user.uid, user.gid), is_named)

    def _owner(self, name: str, uid: int, gid: int) -> tuple[int, int] | None:
        if os.geteuid() != 0:
            return None
        uid = uid if uid >= 0 else self._mapped("virtual_uid_maps", name)
        gid = gid if gid >= 0 else self._mapped("virtual_gid_maps", name)
        return uid, gid

    def _mapped(self, parameter: str, name: str) -> int:
        # There is no proxymap for us.
        specs = [spec.removeprefix("proxy:") for spec in self.config.get(parameter)]
        environment = TableEnvironment(
            self.directory, self.config.accounts_directory, self.config.default_database_type, warn=warn
        )
        maps = Maps(specs, environment, title=parameter, substitution=False)
        try:
            found = asyncio.run(address.find(maps, name, delimiter=self.config.recipient_delimiter)) if maps else None
        except TableError as error:
            raise ValueError(str(error)) from error
        if found is None or not found.value.isdigit():
            raise ValueError(f"{parameter} does not tell whose the mailbox of {name} is")
        return int(found.value)

    def _ask(self, name: str) -> auth.User | None:
        """An account of any backend; None: there is none. Raises BusError, OSError: that cannot be told now."""

        async def look_up(bus: Bus, path: str) -> auth.User:
            return await bus.client(path).call(auth.Lookup(name=fold_name(name), scope="imap"), auth.User, deadline=10)

        try:
            return self._talk(self.config.auth_service_name, look_up)
        except Refusal as error:
            if error.refused.dsn.startswith("5"):
                return None
            raise

    def _talk(self, service: str, work: Callable[[Bus, str], Coroutine[Any, Any, Answer]]) -> Answer:
        """A conversation with a service, from the queue directory: a socket's path may be 107 octets long at most."""

        async def talk() -> Answer:
            bus = Bus()
            try:
                return await work(bus, public_path(service))
            finally:
                bus.close()

        try:
            here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            # Another's, that we may not enter: no relative name leads anywhere from there, and there is no way back.
            here = os.open(self.config.queue_directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.chdir(self.config.queue_directory)
            knock(public_path(service))
            return asyncio.run(talk())
        finally:
            os.fchdir(here)
            os.close(here)

    # Work

    def accounts(self, patterns: Sequence[str], *, create: bool = False) -> Iterator[tuple[Place, Account]]:
        """The accounts that match, each open until the next one is. What is done with one belongs within ``guard``.

        ``create``: make a Maildir that is missing; else that is a fault, or nothing to speak of where a glob found it.
        """
        for place in self.places(patterns):
            account = None
            with self._catch(place):
                account = self.open(place, create=create)
            if account is not None:
                try:
                    yield place, account
                finally:
                    account.close()

    def open(self, place: Place, *, create: bool = False) -> Account | None:
        """None: it has no mail yet, and nobody asked for this one. Raises LookupError, OSError."""
        if not create and not exists(place.root):
            if place.is_named:
                raise LookupError(f"it has no mail yet ({place.root} does not exist)")
            return None
        return open_account(place.root, place.owner)

    @contextmanager
    def guard(self, place: Place) -> Iterator[None]:
        """What goes wrong with an account is said and counted, and the next one follows."""
        before = len(self._faults)
        with self._catch(place):
            yield
        self._done += len(self._faults) == before

    @contextmanager
    def _catch(self, place: Place) -> Iterator[None]:
        try:
            yield
        except NoSuchFolder as error:
            self.fault(place.name, f"there is no folder {error}")
        except FolderExists as error:
            self.fault(place.name, f"there is a folder {error} already")
        except NoSuchMessage as error:
            self.fault(place.name, f"{error} was removed meanwhile")
        except (BadName, ValueError, LookupError) as error:
            self.fault(place.name, str(error))
        except IndexTrouble as error:
            hint = "; see tubepost mailbox check" if is_corrupt(error) else ""
            self.fault(place.name, f"the index of {place.root} cannot be used: {error}{hint}", EX_UNAVAILABLE)
        except BrokenPipeError:
            # No account's: the reader of our output has seen enough (search | head).
            raise
        except OSError as error:
            text = str(error) if error.strerror is None else f"{error.filename or place.root}: {error.strerror}"
            self.fault(place.name, text, EX_UNAVAILABLE)

    def fault(self, name: str, text: str, status: int = EX_DATAERR) -> None:
        """Say it, and remember it for the exit status."""
        warn(f"{name}: {text}")
        self._faults.append(status)

    def unrepaired(self) -> None:
        """Something is wrong and stays so."""
        self._faults.append(EX_PARTLY)

    def changed(self, account: Account, folder: str) -> None:
        """To be told to those who have the folder open."""
        self._changed[account.root, folder] = None

    def tell(self) -> None:
        """Those who have the mailboxes open, of what changed so far. Without notify they find out for themselves."""
        changed, self._changed = self._changed, {}
        if not changed:
            return

        async def work(bus: Bus, path: str) -> None:
            client = bus.client(path)
            for root, folder in changed:
                client.tell(notify.Changed(mailbox=root, folder=folder))
            await client.flushed(_PATIENCE)

        try:
            self._talk(self.config.notify_service_name, work)
        except (BusError, OSError):
            pass

    def finish(self) -> None:
        """Ends the command: exit status 0; 1 when only some failed; else what went wrong."""
        self.tell()
        if not self._faults:
            return
        alike = not self._done and len(set(self._faults)) == 1
        raise click.exceptions.Exit(self._faults[0] if alike else EX_PARTLY)


def _owner_at(root: str) -> tuple[int, int]:
    """uid and gid of a Maildir that root was told of by its path, to act as them. Raises OSError, ValueError.

    Links on the way may be root's and the owner's. Another's, in his home, would have us work on a third one's mail.
    """
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        is_there = leads_to(root, fd, (0, found.st_uid))
    finally:
        os.close(fd)
    if not is_there:
        raise ValueError(f"{root} is not where it seems: a link of somebody else's is on the way to it")
    return found.st_uid, found.st_gid


def say(text: str) -> None:
    """A line for a person: whoever named a folder or a file in it is not obeyed by the terminal."""
    click.echo(log.clean(text))


def warn(text: str) -> None:
    click.echo(f"tubepost: {log.clean(text)}", err=True)


def matching(account: Account, patterns: Sequence[str]) -> list[FolderInfo]:
    """Folders by glob or special use, all without a pattern. Raises NoSuchFolder for a plain name that is none."""
    infos = account.folders()
    if not patterns:
        return infos
    found: dict[int, FolderInfo] = {}
    for pattern in patterns:
        hits = [info for info in infos if matches(pattern, info.name, info.special)]
        if not hits and (_GLOB.isdisjoint(pattern) or pattern.startswith("\\")):
            raise NoSuchFolder(pattern)
        found.update((info.id, info) for info in hits)
    return [info for info in infos if info.id in found]


def matches(pattern: str, name: str, special: Iterable[str] = ()) -> bool:
    """``Work/*`` by name, ``\\Sent`` by special use; INBOX in any case."""
    if pattern.startswith("\\"):
        return pattern.lower() in (use.lower() for use in special)
    if pattern.upper() == "INBOX":
        return name == "INBOX"
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def canonical(name: str) -> str:
    """A folder's name as the store has it."""
    return "INBOX" if name.upper() == "INBOX" else name


def ensure(account: Account, name: str, special: Sequence[str] = (), *, subscribe: bool = True) -> Folder:
    """The folder, made and subscribed to when it is missing. Raises BadName, OSError."""
    try:
        return account.folder(name)
    except NoSuchFolder:
        pass
    made = create(account, name, special)
    if subscribe:
        # Most mail programs show no others.
        account.subscribe(name)
    return made


def create(account: Account, name: str, special: Sequence[str] = ()) -> Folder:
    """A new folder, with the rights of the nearest one above (RFC 4314 4). Raises FolderExists, BadName, OSError."""
    folder = account.create(name, special)
    for above in parents(name):
        acl = account.rights_of(above)
        if acl is not None:
            for identifier, rights in acl.items():
                account.grant(folder.id, identifier, rights)
            break
    return folder
