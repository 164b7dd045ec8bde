"""tubepost: make, run, watch and check an instance.

``-c DIR`` or MAIL_CONFIG selects the instance; several run side by side.
"""

import json
import os
import pwd
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import click

from tubepost.common.system import control
from tubepost.common.accounts import AccountsError
from tubepost.common.config import Config, ConfigError, Fault, inspect, layout, load, master_cf
from tubepost.common.config.instance import PORTS, write_instance
from tubepost.common.tables import TableError
from tubepost.common.skeleton.privileges import is_program

from tubepost.commands import privileges
from tubepost.commands.alias import alias
from tubepost.commands.configuration_faults import restriction_faults, table_faults
from tubepost.commands.console import ask_master
from tubepost.commands.domain import domain
from tubepost.commands.mailbox import mailbox
from tubepost.commands.user import user

EX_CONFIG, EX_UNAVAILABLE, EX_NOPERM = 78, 69, 77
# A program that it takes cannot start, seconds.
_START_PATIENCE = 60.0
_DEFAULT_DIRECTORY = "/etc/tubepost"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-c",
    "directory",
    metavar="DIR",
    envvar="MAIL_CONFIG",
    default=_DEFAULT_DIRECTORY,
    help="Configuration directory of the instance (MAIL_CONFIG).",
)
@click.version_option(package_name="tubepost", prog_name="tubepost")
@click.pass_context
def main(context: click.Context, directory: str) -> None:
    """A mail system in Postfix's shape: one command for the whole instance."""
    context.obj = os.path.abspath(directory)


def _fail(text: str, status: int) -> "click.exceptions.Exit":
    click.echo(f"tubepost: {text}", err=True)
    return click.exceptions.Exit(status)


def _config(directory: str) -> Config:
    try:
        return load(directory)
    except ConfigError as error:
        raise _fail(str(error), EX_CONFIG) from None


def _master_pid(config: Config) -> int:
    """Of the running master; 0 when none runs; negative when it runs on another host, with the same queue (NFS)."""
    try:
        return control.master_pid(os.path.join(config.queue_directory, config.process_id_directory))
    except OSError as error:
        status = EX_NOPERM if isinstance(error, PermissionError) else EX_UNAVAILABLE
        raise _fail(f"{error.filename or config.queue_directory}: {error.strerror or error}", status) from None


def _signal(pid: int, number: signal.Signals) -> None:
    if pid < 0:
        # To kill(2) it would be a process group of ours, or everybody.
        raise _fail("this instance runs on another host", 1)
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise _fail("this instance does not run", 1) from None
    except PermissionError:
        raise _fail(f"only the account that started process {pid}, or root, may do this", EX_NOPERM) from None


def _master_command(directory: str, ready_fd: int) -> list[str]:
    # -I: nothing of the caller's directory or environment gets into the mail system.
    return [sys.executable, "-I", "-m", "tubepost.master", "-c", directory, "--ready-fd", str(ready_fd)]


@main.command()
@click.argument("root", type=click.Path(file_okay=False))
@click.option("--domain", default="example.test", show_default=True, help="Mail domain.")
@click.option("--port-offset", default=0, show_default=True, help="Added to every port of an embedded instance.")
@click.option("--embedded/--system", default=True, help="High ports and two accounts, or port 25 and none.")
@click.option("--listen", default=None, help="Address to listen on.")
@click.option("--smtp-port", type=int, default=None, help="Port of SMTP; no other server then.")
@click.option("--standard-ports", is_flag=True, help="Ports 25, 587, 465, 143, 993, 110, 995 in any case.")
def init(
    root: str,
    domain: str,
    port_offset: int,
    embedded: bool,
    listen: str | None,
    smtp_port: int | None,
    standard_ports: bool,
) -> None:
    """Write a new instance below ROOT (configuration, queue, mailboxes). What is there already stays as it is."""
    try:
        instance = write_instance(
            root,
            domain=domain,
            port_offset=port_offset,
            embedded=embedded,
            listen=listen,
            smtp_port=smtp_port,
            standard_ports=standard_ports,
        )
        from tubepost.common.tables.compile import rebuild_alias_databases

        rebuild_alias_databases(load(instance.config_directory))
    except (OSError, ValueError, ConfigError, AccountsError, TableError) as error:
        raise _fail(f"{root}: {error}; what is missing is made by another init", EX_CONFIG) from None
    for path in instance.written:
        click.echo(f"written: {path}")
    if instance.credentials:
        click.echo("accounts (kept in credentials.txt):")
        for address, password in instance.credentials.items():
            click.echo(f"  {address} {password}")


@main.command()
@click.pass_obj
def run(directory: str) -> None:
    """Run in the foreground until Ctrl-C; says in one line when it is ready."""
    config = _config(directory)
    if pid := _master_pid(config):
        raise _fail(f"this instance runs already (process {pid})", EX_UNAVAILABLE)
    _look_over(directory, config, "not started")
    begun = time.monotonic()
    read, write = os.pipe()
    master = subprocess.Popen(_master_command(directory, write), pass_fds=(write,))
    os.close(write)
    # Ctrl-C reaches the master by the terminal; TERM is passed on; this process waits for the orderly end.
    signal.signal(signal.SIGINT, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda signo, _: master.send_signal(signo))
    with os.fdopen(read, "rb") as ready:
        if ready.read(1):
            click.echo(_ready_line(directory, config, time.monotonic() - begun))
    while True:
        try:
            status = master.wait()
            break
        except KeyboardInterrupt:
            continue
    raise click.exceptions.Exit(status if status >= 0 else 128 - status)


_KINDS = {"smtpd": "SMTP", "imapd": "IMAP", "pop3d": "POP3", "lmtpd": "LMTP"}


def _kind(entry: master_cf.Entry) -> str:
    """What a person calls a network service: IMAPS."""
    name = _KINDS.get(entry.command, entry.command)
    overrides = dict(entry.overrides)
    if entry.command == "smtpd" and overrides.get("smtpd_sasl_auth_enable") == "yes":
        name = "submission"
    if overrides.get(f"{entry.command}_tls_wrappermode") == "yes":
        name += "s" if name.islower() else "S"
    return name


def _ready_line(directory: str, config: Config, seconds: float) -> str:
    services, _ = master_cf.read(f"{directory}/master.cf")
    doors = ", ".join(f"{_kind(entry)} {entry.service}" for entry in services if entry.type == "inet")
    host, port = _door(services, "smtpd") or ("", "25")
    # Domains may be in a table.
    domain = next((name for name in config.virtual_mailbox_domains if ":" not in name), config.mydomain)
    example = f"swaks -s {host or '127.0.0.1'} -p {port} -t alice@{domain}"
    readers = [
        f"mutt -f {scheme}://alice%40{domain}@{found[0] or '127.0.0.1'}:{found[1]}/"
        for program, scheme in (("imapd", "imap"), ("pop3d", "pop"))
        if (found := _door(services, program))
    ]
    return (
        f"tubepost is ready in {seconds:.1f} s: {doors or 'no network service'}; "
        f"try: {', '.join([example, *readers])}   then: mailq -C {directory}, tubepost -c {directory} status"
    )


def _door(services: Sequence[master_cf.Entry], program: str) -> tuple[str, str] | None:
    """Host and port of the first network service of a program."""
    for entry in services:
        if entry.type == "inet" and entry.command == program:
            host, _, port = entry.service.rpartition(":")
            return host, str(PORTS.get(port, port))
    return None


@main.command()
@click.pass_obj
def start(directory: str) -> None:
    """Start in the background; returns when the system is ready."""
    config = _config(directory)
    if pid := _master_pid(config):
        raise _fail(f"this instance runs already (process {pid})", EX_UNAVAILABLE)
    _look_over(directory, config, "not started")
    read, write = os.pipe()
    output = subprocess.DEVNULL if config.maillog_file != "/dev/stdout" else None
    master = subprocess.Popen(
        _master_command(directory, write),
        pass_fds=(write,),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=output,
        # What it says until it is ready is passed on. Afterwards nothing of ours stays open in it: whoever waits for
        # the end of our output (a pipe, a remote shell) must not wait for the mail system's.
        stderr=subprocess.PIPE,
    )
    os.close(write)
    assert master.stderr is not None
    with os.fdopen(read, "rb", buffering=0) as ready, master.stderr:
        said = True
        deadline = time.monotonic() + _START_PATIENCE
        while True:
            left = max(deadline - time.monotonic(), 0)
            found, _, _ = select.select([ready, master.stderr] if said else [ready], [], [], left)
            if master.stderr in found:
                said = bool(text := os.read(master.stderr.fileno(), 65_536))
                click.echo(text, err=True, nl=False)
            if ready in found:
                break
            if not found:
                why = f"the mail system was started (process {master.pid}) but is not ready: the log says why"
                raise _fail(why, EX_UNAVAILABLE)
        if not ready.read(1):
            click.echo(master.stderr.read(), err=True, nl=False)
            if (ended := master.wait()) > 0:
                raise click.exceptions.Exit(ended)
            # Stopped by somebody (0), or killed: no word of its own says so.
            how = f" by signal {-ended}" if ended else ""
            raise _fail(f"the mail system was ended{how} before it was ready", 128 - ended if ended else EX_UNAVAILABLE)
    click.echo(f"tubepost started (process {master.pid})")


@main.command()
@click.pass_obj
def stop(directory: str) -> None:
    """Stop: sessions and deliveries under way are finished first."""
    config = _config(directory)
    pid = _master_pid(config)
    if not pid:
        raise _fail("this instance does not run", 1)
    _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + config.stop_timeout + 15
    # Whoever else started it meanwhile wants it to run.
    while _master_pid(config) == pid:
        if time.monotonic() > deadline:
            raise _fail(f"process {pid} does not end; look at the log, or kill it: no accepted mail is lost", 1)
        time.sleep(0.05)
    click.echo("tubepost stopped")


@main.command()
@click.pass_obj
def reload(directory: str) -> None:
    """Have the running system read its configuration again; no session is dropped."""
    config = _config(directory)
    _look_over(directory, config, "not reloaded")
    pid = _master_pid(config)
    if not pid:
        raise _fail("this instance does not run", 1)
    _signal(pid, signal.SIGHUP)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="All that the master knows, as JSON.")
@click.pass_obj
def status(directory: str, as_json: bool) -> None:
    """Show the services and their processes. Exit status 0 when the system runs."""
    config = _config(directory)
    try:
        answer = ask_master(config)
    except (OSError, ValueError) as error:
        pid = _master_pid(config)
        if pid and isinstance(error, PermissionError):
            why = f"runs (process {pid}); only the account that started it, or root, may ask more"
            raise _fail(why, EX_NOPERM) from None
        raise _fail(f"runs (process {pid}) but does not answer" if pid else "this instance does not run", 1) from None
    if as_json:
        click.echo(json.dumps(answer))
        return
    for line in _status_lines(answer):
        click.echo(line)


def _status_lines(answer: dict[str, Any]) -> list[str]:
    columns = ("SERVICE", "PROGRAM", "PROCESSES", "SESSIONS", "LIMIT", "REQUESTS", "RESTARTS", "MEMORY", "STRESS")
    rows = [columns]
    for row in answer["services"]:
        state = "on" if row["stress"] else f"paused {row['throttled']}s" if row["throttled"] else "-"
        rows.append(
            (
                row["service"],
                row["program"],
                f"{row['processes']}/{row['maxproc'] or '-'}",
                str(row["sessions"]),
                str(row["limit"] or "-"),
                str(row["requests"]),
                str(row["restarts"]),
                f"{row['memory'] / 1024:.1f}M" if row["memory"] else "-",
                state,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    total = answer["memory"] + sum(row["memory"] for row in answer["services"])
    pressure = f", memory pressure level {answer['pressure_level']}" if answer["pressure_level"] else ""
    lines.append(
        f"master process {answer['pid']}, version {answer['version']}, up {answer['uptime']} s, "
        f"{total / 1024:.1f}M in all{pressure}"
    )
    return lines


@main.command()
@click.pass_obj
def check(directory: str) -> None:
    """Check configuration and permissions; every fault in one pass. Exit status 0 when nothing is wrong."""
    try:
        config = inspect(directory)
    except ConfigError as error:
        raise _fail(str(error), EX_CONFIG) from None
    faults = _faults(directory, config)
    words = [f"{fault.severity}: {fault}" for fault in faults]
    words += [f"warning: {text}" for text in _directory_faults(config)]
    for text in privileges.not_apart(config) if not words else ():
        click.echo(f"note: {text}", err=True)
    for line in words:
        click.echo(line, err=True)
    errors = sum(fault.severity == "error" for fault in faults)
    if errors:
        raise click.exceptions.Exit(EX_CONFIG)
    click.echo(f"{directory}: {'no faults' if not words else f'{len(words)} warnings'}")


def _faults(directory: str, config: Config) -> list[Fault]:
    entries, faults = master_cf.read(f"{directory}/master.cf")
    found = list(faults)
    names = frozenset(entry.service for entry in entries)
    found += config.check(names)
    found += [*restriction_faults(config), *table_faults(config)]
    for entry in entries:
        own = config.with_overrides(dict(entry.overrides))
        for name, _ in entry.overrides:
            try:
                own.get(name)
            except KeyError:
                pass
            except ConfigError as error:
                found.append(Fault(entry.file, entry.line, entry.name, str(error)))
        if not is_program(entry.command):
            found.append(Fault(entry.file, entry.line, entry.name, f"there is no program {entry.command}"))
    return found


def _look_over(directory: str, config: Config, what: str) -> None:
    """Every fault is told: of a parameter that does nothing here somebody may expect much (a filter, a proxy).

    Raises Exit where a program that meets one would end, or refuse mail, each time that it is needed.
    """
    faults = _faults(directory, config)
    for fault in faults:
        click.echo(f"{fault.severity}: {fault}", err=True)
    if any(fault.severity == "error" for fault in faults):
        raise _fail(f"{what}: the configuration has errors", EX_CONFIG)


def _directory_faults(config: Config) -> list[str]:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        for name in ("mail_owner", "protocol_owner", "auth_owner"):
            who = config.get(name) or config.mail_owner
            try:
                pwd.getpwnam(who)
            except KeyError:
                return [f"{name}: there is no account {who}; make it with useradd --system"]
        owner = pwd.getpwnam(config.mail_owner)
        uid, gid = owner.pw_uid, owner.pw_gid
    import grp

    try:
        gid = grp.getgrnam(config.setgid_group).gr_gid
    except KeyError:
        pass
    return layout.check(config.queue_directory, uid, gid)


@main.command()
@click.option("--privileges", "beside", is_flag=True, help="What each may do, beside what the running ones can do.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@click.pass_obj
def services(directory: str, beside: bool, as_json: bool) -> None:
    """Print who may call whom with which messages, and what each program may touch.

    With --privileges exit status 1 when a running process has other privileges than the table says.
    """
    if not beside and not as_json:
        privileges.print_table()
        return
    config = _config(directory)
    try:
        differing = privileges.print_beside(config, directory, as_json)
    except ConfigError as error:
        raise _fail(str(error), EX_CONFIG) from None
    except (OSError, ValueError):
        raise _fail("this instance does not run, or is another account's", 1) from None
    if differing:
        raise _fail(f"{differing} processes have other privileges than the table says", 1)


for _group in (domain, user, alias, mailbox):
    main.add_command(_group)

if __name__ == "__main__":
    main()
