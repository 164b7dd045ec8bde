"""What ``tubepost user``, ``domain`` and ``alias`` share: the databases, passwords from a person, lists for people and
programs. They work on the databases themselves, so the system may run or not.
"""

import json
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from tubepost.common.system import log
from tubepost.common.accounts import AccountsError, Directory, Passwords
from tubepost.common.config import Config, ConfigError, load
from tubepost.common.config.owners import make_directories, owner_of

EX_DATAERR, EX_NOUSER, EX_UNAVAILABLE, EX_CONFIG = 65, 67, 69, 78
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def fail(text: str, status: int = EX_DATAERR) -> NoReturn:
    # It may have words of another server, or a name that somebody chose.
    click.echo(f"tubepost: {log.clean(text)}", err=True)
    raise click.exceptions.Exit(status)


@contextmanager
def faults() -> Iterator[None]:
    """What goes wrong becomes one line and an exit status of sysexits.h."""
    try:
        yield
    except ValueError as error:
        fail(str(error))
    except ConfigError as error:
        fail(str(error), EX_CONFIG)
    except AccountsError as error:
        fail(str(error), EX_UNAVAILABLE)
    except OSError as error:
        fail(f"{error.filename or 'system error'}: {error.strerror or error}", EX_UNAVAILABLE)


@contextmanager
def open_directory(directory: str, *, write: bool = False) -> Iterator[tuple[Config, Directory]]:
    """The configuration, and accounts.db; with ``write`` it is made when it is missing."""
    with faults():
        config = load(directory)
        if write:
            make_directories(config)
        owner = owner_of(config, "mail_owner") if write else None
        with Directory(config.accounts_directory, write=write, owner=owner) as accounts:
            yield config, accounts


@contextmanager
def open_passwords(config: Config) -> Iterator[Passwords]:
    with faults():
        make_directories(config)
        with Passwords(config.auth_directory, owner=owner_of(config, "auth_owner")) as passwords:
            yield passwords


def new_password(whose: str, *, stdin: bool, random: bool) -> str:
    """From the first line of standard input, or made, or asked for twice on the terminal; never from the command line,
    which every user of the host can read.
    """
    if random:
        made = secrets.token_urlsafe(15)
        click.echo(f"password of {whose}: {made}")
        return made
    if stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            fail("there is no password on standard input")
        return password
    if not sys.stdin.isatty():
        fail("there is no terminal to ask for the password on: use --stdin, or --random")
    password = click.prompt(f"Password of {whose}", hide_input=True, confirmation_prompt=True)
    return str(password)


def parse_size(text: str) -> int:
    """``2G``, ``500M``, ``1048576``; 0 or ``none``: no limit. Raises ValueError."""
    if text.lower() in ("none", "0"):
        return 0
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'"{text}" is not a size: write bytes, or a number and K, M, G or T')
    return int(float(match[1]) * (1 << _UNITS[match[2].upper()]))


def print_size(size: int) -> str:
    if not size:
        return "-"
    for unit in ("T", "G", "M", "K"):
        if size >= 1 << _UNITS[unit]:
            return f"{size / (1 << _UNITS[unit]):.4g}{unit}"
    return str(size)


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for people."""
    table = [tuple(columns), *(tuple(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(columns))]
    for row in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))
