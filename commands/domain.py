"""tubepost domain: the domains whose mail goes to the built-in accounts."""

import time

import click

from tubepost.commands.accounts import EX_NOUSER, fail, open_directory, print_json, print_rows


@click.group()
def domain() -> None:
    """Domains whose mail goes to the accounts of this system."""


@domain.command()
@click.argument("names", nargs=-1, required=True, metavar="DOMAIN...")
@click.pass_obj
def add(directory: str, names: tuple[str, ...]) -> None:
    """Take mail for DOMAIN. Users of it are made with tubepost user add."""
    with open_directory(directory, write=True) as (config, accounts):
        for name in names:
            if name.lower() in (other.lower() for other in config.mydestination):
                fail(
                    f"{name} is in mydestination, the domains of this system's own users: it can be one of the two only"
                )
            click.echo(f"{name}: {'added' if accounts.add_domain(name, time.time()) else 'is there already'}")


@domain.command("list")
@click.argument("pattern", default="*")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def list_(directory: str, pattern: str, as_json: bool) -> None:
    """List the domains, or those that match a PATTERN (*.example.com)."""
    with open_directory(directory) as (_, accounts):
        found = accounts.domains(pattern)
    if as_json:
        print_json([item._asdict() for item in found])
    else:
        print_rows(("DOMAIN", "USERS", "ALIASES"), [(item.name, str(item.users), str(item.aliases)) for item in found])


@domain.command()
@click.argument("names", nargs=-1, required=True, metavar="DOMAIN...")
@click.pass_obj
def delete(directory: str, names: tuple[str, ...]) -> None:
    """Take no more mail for DOMAIN. Its users and aliases must be deleted before."""
    with open_directory(directory, write=True) as (_, accounts):
        for name in names:
            if not accounts.delete_domain(name):
                fail(f"there is no domain {name} here", EX_NOUSER)
            click.echo(f"{name}: deleted")
