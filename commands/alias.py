"""tubepost alias: addresses that stand for others."""

import time

import click

from tubepost.commands.accounts import EX_NOUSER, fail, open_directory, print_json, print_rows


@click.group()
def alias() -> None:
    """Addresses that stand for others; @DOMAIN stands for all of a domain that are nothing else."""


@alias.command()
@click.argument("name", metavar="ALIAS")
@click.argument("targets", nargs=-1, required=True, metavar="ADDRESS...")
@click.pass_obj
def add(directory: str, name: str, targets: tuple[str, ...]) -> None:
    """Have mail for ALIAS go to each ADDRESS. More are added to those that are there."""
    with open_directory(directory, write=True) as (_, accounts):
        made = accounts.add_alias(name, targets, time.time())
        click.echo(f"{made.name}: {', '.join(made.targets)}")


@alias.command("list")
@click.argument("patterns", nargs=-1, metavar="[PATTERN...]")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def list_(directory: str, patterns: tuple[str, ...], as_json: bool) -> None:
    """List the aliases, or those that match a PATTERN (*@example.com)."""
    with open_directory(directory) as (_, accounts):
        found = accounts.aliases(patterns or ("*",))
    if as_json:
        print_json([item._asdict() for item in found])
    else:
        print_rows(("ALIAS", "GOES TO"), [(item.name, ", ".join(item.targets)) for item in found])


@alias.command()
@click.argument("name", metavar="ALIAS")
@click.argument("targets", nargs=-1, metavar="[ADDRESS...]")
@click.pass_obj
def delete(directory: str, name: str, targets: tuple[str, ...]) -> None:
    """Delete ALIAS, or take only each ADDRESS from it."""
    with open_directory(directory, write=True) as (_, accounts):
        if not accounts.delete_alias(name, targets):
            fail(f"there is no such alias: {name}{' to ' + ', '.join(targets) if targets else ''}", EX_NOUSER)
        click.echo(f"{name}: {'changed' if targets and accounts.alias(name) else 'deleted'}")
