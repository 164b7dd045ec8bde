"""``tubepost services``: the table of programs, beside what the kernel says of those that run.

Read from /proc: ids, groups, capabilities, no_new_privs, seccomp, network namespace, limits. Which Landlock rules a
process has the kernel tells nobody: a program that cannot set them ends before it serves (``skeleton/privileges.py``),
and ``tests/attack/inside`` tries them from inside.
"""

import json
import os
import pwd
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from tubepost.common.wire.programs import ALIASES, CALLS, PROGRAMS, USER, Program
from tubepost.common.system import landlock, privileges, seccomp
from tubepost.common.config import Config, master_cf
from tubepost.common.skeleton.privileges import identity_of, policy_of

from tubepost.commands.console import ask_master

_SETPCAP, _SYS_ADMIN = 8, 21
_CAPABILITY_NAMES = {
    privileges.CHOWN: "chown",
    privileges.DAC_OVERRIDE: "dac_override",
    privileges.DAC_READ_SEARCH: "dac_read_search",
    privileges.FOWNER: "fowner",
    privileges.KILL: "kill",
    privileges.SETGID: "setgid",
    privileges.SETUID: "setuid",
    privileges.SYS_CHROOT: "sys_chroot",
}
# How often it is looked while one differs, and how long after the last time, seconds: a child that was just forked has
# all that the template has, until it has read its configuration.
_LOOKS, _YOUTH = 10, 0.1
# Title in /proc/PID/limits.
_LIMITS = {
    "core": "Max core file size",
    "files": "Max open files",
    "data": "Max data size",
    "processes": "Max processes",
}
Facts = dict[str, str]
"""Name of a property, in the order of printing, to its value in words."""
UNKNOWN = "?"
"""May not be read by who asks."""


@dataclass(frozen=True, slots=True)
class Process:
    """One that runs. ``wanted``: what the table says of it; ``found``: what the kernel does."""

    pid: int
    service: str
    wanted: Facts
    found: Facts

    @property
    def differs(self) -> list[str]:
        return [
            name
            for name, value in self.wanted.items()
            if value != UNKNOWN and self.found.get(name) not in (value, UNKNOWN)
        ]


def rows() -> Iterator[tuple[str, Program]]:
    """The table without people's commands."""
    return ((name, row) for name, row in PROGRAMS.items() if name != USER)


def describe(program: str, row: Program) -> list[str]:
    """A row in words."""
    marks = [
        "network in" if row.accepts else "no network in",
        "network out" if row.network else "no network out",
        "starts programs" if row.programs else "starts no programs",
    ]
    if row.root:
        marks.append("acts as the recipient")
    if row.borrows:
        marks.append("in mail_owner's group")
    writes = "whatever its account may" if row.anywhere else ", ".join(row.writes) or "nothing"
    lines = [
        f"{program}: {', '.join(marks)}",
        f"    reads: {', '.join(row.reads) or 'configuration'}; writes: {writes}",
    ]
    lines += [
        f"    calls {callee}: {', '.join(message.__name__ for message in messages)}"
        for callee, messages in sorted(row.calls.items())
    ]
    for name, callers in sorted(CALLS.get(program, {}).items()):
        people = sorted("people's commands" if caller == USER else caller for caller in callers)
        lines.append(f"    answers {name.decode()} of {', '.join(people)}")
    return lines


# -- what is in force ------------------------------------------------------------------------------------------------


def read_status(pid: int) -> dict[str, str]:
    """/proc/PID/status. Raises OSError."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        pairs = (line.split(":", 1) for line in file)
        return {name: value.strip() for name, value in pairs}


def _network_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def _limits_of(pid: int) -> dict[str, tuple[str, str]]:
    """Name in ``_LIMITS`` to (soft, hard), as the kernel prints them; empty where we may not know."""
    found = {}
    try:
        with open(f"/proc/{pid}/limits", encoding="ascii") as file:
            for line in file:
                for name, title in _LIMITS.items():
                    if line.startswith(title):
                        soft, hard = line[len(title) :].split()[:2]
                        found[name] = soft, hard
    except OSError:
        pass
    return found


def _limit(soft: str, hard: str) -> str:
    return soft if soft == hard else f"{soft}/{hard}"


def _wanted_limits(row: Program, config: Config, master: dict[str, tuple[str, str]]) -> Facts:
    """``privileges.limit_resources`` in words; of what the master itself has, nobody gets more."""
    if master.keys() != _LIMITS.keys():
        return dict.fromkeys(_LIMITS, UNKNOWN)
    data, most = master["data"]
    if memory := config.process_memory_limit:
        data = str(memory if most == "unlimited" else min(memory, int(most)))
        most = most if row.programs else data
    return {
        "core": "0",
        "files": master["files"][1],
        "data": _limit(data, most),
        "processes": _limit(*master["processes"]),
    }


def words_of(capabilities: int) -> str:
    """A set of capabilities, a bit each."""
    numbers = [number for number in range(64) if capabilities >> number & 1]
    return "+".join(_CAPABILITY_NAMES.get(number, str(number)) for number in numbers) or "none"


def found_of(pid: int, master: int) -> Facts:
    """What the kernel says. Raises OSError when the process is gone."""
    status, limits = read_status(pid), _limits_of(pid)
    network, masters = _network_of(pid), _network_of(master)
    uids, gids = set(status["Uid"].split()), set(status["Gid"].split())
    return {
        "uid": "/".join(sorted(uids)),
        "gid": "/".join(sorted(gids)),
        "groups": ",".join(status["Groups"].split()) or "none",
        "capabilities": words_of(
            int(status["CapEff"], 16)
            | int(status["CapPrm"], 16)
            | int(status["CapInh"], 16)
            | int(status["CapAmb"], 16)
        ),
        "bounds": words_of(int(status["CapBnd"], 16)),
        "no_new_privs": status["NoNewPrivs"],
        "seccomp": status["Seccomp"],
        "network": UNKNOWN if not network or not masters else "shared" if network == masters else "empty",
        **{name: _limit(*limits[name]) if name in limits else UNKNOWN for name in _LIMITS},
    }


def wanted_of(
    program: str, unprivileged: bool, config: Config, master: dict[str, str], limits: dict[str, tuple[str, str]]
) -> Facts:
    """What the table comes to on this system. ``master``, ``limits``: its /proc status and limits; it can give away
    what it has itself.
    """
    row = policy_of(program, config)
    has = int(master["CapPrm"], 16)
    if master["Uid"].split()[1] == "0":
        who = identity_of(program, unprivileged, config, has)
        uid, gid = (0, int(master["Gid"].split()[1])) if who.uid is None else (who.uid, who.gid)
        # Root's groups go with root.
        groups = ",".join(map(str, who.groups)) if who.uid is not None else _groups(master)
        kept = sum(1 << number for number in who.capabilities) & has
        bounds = kept if has >> _SETPCAP & 1 else int(master["CapBnd"], 16)
        apart = not row.network and has >> _SYS_ADMIN & 1
    else:
        uid, gid, groups = int(master["Uid"].split()[1]), int(master["Gid"].split()[1]), _groups(master)
        kept, bounds, apart = has, int(master["CapBnd"], 16), False
    return {
        "uid": str(uid),
        "gid": str(gid),
        "groups": groups or "none",
        "capabilities": words_of(kept),
        "bounds": words_of(bounds),
        "no_new_privs": "1",
        "seccomp": "2" if seccomp.is_known() else "0",
        "network": "empty" if apart else "shared",
        **_wanted_limits(row, config, limits),
    }


def _groups(master: dict[str, str]) -> str:
    return ",".join(master["Groups"].split())


def processes(config: Config, entries: Sequence[master_cf.Entry]) -> dict[str, list[Process]]:
    """Those of the running instance, by program. Raises OSError, ValueError (it does not run), ConfigError."""
    answer = ask_master(config)
    for _ in range(_LOOKS):
        found = _look(answer, config, entries)
        if not any(process.differs for some in found.values() for process in some):
            break
        time.sleep(_YOUTH)
    return found


def _look(answer: dict[str, Any], config: Config, entries: Sequence[master_cf.Entry]) -> dict[str, list[Process]]:
    master, limits = read_status(answer["pid"]), _limits_of(answer["pid"])
    known = {(entry.service, entry.type): entry for entry in entries}
    found: dict[str, list[Process]] = {}
    for row in answer["services"]:
        entry = known.get((row["service"], row["type"]))
        own = config.with_overrides(dict(entry.overrides)) if entry is not None else config
        program = row["program"]
        wanted = wanted_of(program, entry.unprivileged if entry is not None else True, own, master, limits)
        for pid in row["pids"]:
            try:
                facts = found_of(pid, answer["pid"])
            except OSError:
                continue  # it has just ended
            found.setdefault(ALIASES.get(program, program), []).append(Process(pid, row["service"], wanted, facts))
    return found


# -- the command -----------------------------------------------------------------------------------------------------


def print_table() -> None:
    """``tubepost services``."""
    for program, row in rows():
        for line in describe(program, row):
            click.echo(line)


def print_beside(config: Config, directory: str, as_json: bool) -> int:
    """``tubepost services --privileges``. Returns how many processes differ.

    Raises OSError, ValueError, ConfigError.
    """
    entries, _ = master_cf.read(f"{directory}/master.cf")
    running = processes(config, entries)
    if as_json:
        click.echo(json.dumps(_as_json(running)))
    else:
        for line in _lines(running):
            click.echo(line)
        for line in not_apart(config):
            click.echo(f"note: {line}")
        version = landlock.version()
        click.echo(
            f"Landlock version {version}: no program that is bound to directories serves without; /proc shows no rules"
            if version
            else "no Landlock in this kernel: accounts, namespaces and seccomp alone confine"
        )
    return sum(bool(process.differs) for found in running.values() for process in found)


def _as_json(running: dict[str, list[Process]]) -> list[dict[str, Any]]:
    return [
        {
            "program": program,
            "account": row.account,
            "reads": row.reads,
            "writes": row.writes,
            "network_in": row.accepts,
            "network_out": row.network,
            "programs": row.programs,
            "calls": {callee: [message.__name__ for message in messages] for callee, messages in row.calls.items()},
            "processes": [
                {
                    "pid": process.pid,
                    "service": process.service,
                    "table": process.wanted,
                    "kernel": process.found,
                    "differs": process.differs,
                }
                for process in running.get(program, ())
            ],
        }
        for program, row in rows()
    ]


def _lines(running: dict[str, list[Process]]) -> Iterator[str]:
    for program, row in rows():
        first, second, *_ = describe(program, row)
        yield first
        yield second
        for process in running.get(program, ()):
            differs = process.differs
            yield f"    table says          {_line(process.wanted)}"
            verdict = f"   DIFFERS: {', '.join(differs)}" if differs else "   as the table says"
            yield f"    process {process.pid:<11} {_line(process.found)}{verdict}"
        if program not in running:
            yield "    does not run now"


def _line(facts: Facts) -> str:
    return "  ".join(f"{name} {value}" for name, value in facts.items())


def not_apart(config: Config) -> list[str]:
    """What of the accounts is not apart though root could keep it so, in words; empty when all is, or without root."""
    if os.geteuid() != 0:
        return []
    names = {
        "the queue": config.mail_owner,
        "what faces the network (protocol_owner)": config.protocol_owner or config.mail_owner,
        "passwords (auth_owner)": config.auth_owner or config.mail_owner,
    }
    owner = identity_of("imapd", False, config)
    if owner.uid is not None:
        names["mailboxes (virtual_uid_maps)"] = _name(owner.uid)
    together: dict[str, list[str]] = {}
    for what, name in names.items():
        together.setdefault(name, []).append(what)
    shared = [
        f"{', '.join(whats[:-1])} and {whats[-1]} have one account, {name}"
        for name, whats in together.items()
        if len(whats) > 1
    ]
    return [f"{'; '.join(shared)}: docs/security.md says how to keep them apart"] if shared else []


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


__all__ = ["describe", "found_of", "not_apart", "print_beside", "print_table", "processes", "wanted_of"]
