"""Programs x attempts: code inside each program tries what it may not do, and what it may.

What a row of the table allows must succeed, or the attempt proves nothing; all else must be refused, by the kernel or
by the program that is asked; and afterwards the program, and the mail system, go on. Without root there is one account:
Landlock, seccomp and the bus are then tried alone.
"""

import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tubepost.common.wire.programs import CALLS, PROGRAMS, Program
from tubepost.common.bus import server

from tests.attack.inside.attempts import ATTEMPTS
from tests.attack.inside.hostile import DENIED, LANDLOCK, MEANS, PROGRAM_NAMES, QUEUES, ROOT, Hostile
from tests.attack.inside.refusing import ask_everybody

pytestmark = MEANS

# How the kernel says no. ENETUNREACH, EADDRNOTAVAIL, ECONNREFUSED: of an empty network namespace. EXDEV: Landlock's, of
# a link or a rename across its rules.
NO = {"EPERM", "EACCES", "ENOSYS", "EAFNOSUPPORT", "ENETUNREACH", "EADDRNOTAVAIL", "ECONNREFUSED", "EXDEV"}
# What is said only where the attempt was let through to the kernel's own code.
THROUGH = {
    "connect_fast_open": {"EINPROGRESS"},
    "execute": {"ENOENT", "EFAULT"},
    "execute_memory": {"ENOEXEC", "EFAULT"},
}


@dataclass(frozen=True)
class Doors:
    """Of other hosts, and of other systems on this one."""

    port4: int
    port6: int
    abstract: str


@pytest.fixture(scope="module")
def doors() -> Iterator[Doors]:
    four = socket.create_server(("127.0.0.1", 0), backlog=500)
    six = socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=500)
    abstract = socket.socket(socket.AF_UNIX)
    name = f"tubepost-attack-{os.getpid()}"
    abstract.bind(f"\0{name}")
    abstract.listen(500)
    with four, six, abstract:
        yield Doors(four.getsockname()[1], six.getsockname()[1], name)


Allowed = Callable[[Hostile, Program], bool | None]
"""None: as the system is set up (yama), and no secret of ours."""
Given = Callable[[Hostile, Program], dict[str, Any]]


def never(_: Hostile, __: Program) -> bool:
    return False


def by_anywhere(_: Hostile, row: Program) -> bool:
    """local and pipe: whatever root with few powers, or without root our own account, may."""
    return row.anywhere


def by_root(hostile: Hostile, row: Program) -> bool:
    return hostile.is_root(row)


def by_root_anywhere(hostile: Hostile, row: Program) -> bool:
    """virtual is root as well, and bound to its directories."""
    return hostile.is_root(row) and row.anywhere


@dataclass(frozen=True)
class Case:
    name: str
    attempt: str
    given: Given
    allowed: Allowed = never
    landlock: int = 0
    """The version that refuses it where nothing else does, in some program."""


def _queue_cases() -> Iterator[Case]:
    for queue in QUEUES:

        def reads(_: Hostile, row: Program, queue: str = queue) -> bool:
            return row.anywhere or queue in (*row.reads, *row.writes)

        def writes(_: Hostile, row: Program, queue: str = queue) -> bool:
            return row.anywhere or queue in row.writes

        def folder(hostile: Hostile, _: Program, queue: str = queue) -> dict[str, Any]:
            return {"path": str(hostile.instance.spool / queue)}

        def file(hostile: Hostile, _: Program, queue: str = queue) -> dict[str, Any]:
            return {"path": str(hostile.plant(queue))}

        def by_mode(hostile: Hostile, row: Program) -> bool:
            # Whose files they are may change their modes by name, unless seccomp says no.
            return row.anywhere or hostile.is_root(row) or (not ROOT and row.account not in ("queue", "protocol"))

        def into(hostile: Hostile, row: Program, queue: str = queue) -> dict[str, Any]:
            return {"path": str(hostile.instance.spool / queue), "own": hostile.own_directory(row)}

        yield Case(f"list {queue}", "list_directory", folder, reads)
        yield Case(f"read mail in {queue}", "read_file", file, reads)
        yield Case(f"make a file in {queue}", "make_file", folder, writes)
        yield Case(f"change mail in {queue}", "change_file", file, writes)
        yield Case(f"truncate mail in {queue}", "truncate_file", file, writes)
        yield Case(f"remove mail in {queue}", "remove_file", file, writes)
        yield Case(f"rename mail in {queue}", "rename_file", file, writes)
        yield Case(f"change the mode of mail in {queue}", "change_mode", file, by_mode)
        yield Case(f"change the mode of {queue}", "change_mode", folder, by_mode)
        yield Case(f"own mail in {queue}", "change_owner", file, by_mode)

        def moves(hostile: Hostile, row: Program, queue: str = queue) -> bool:
            return writes(hostile, row, queue)

        yield Case(f"move a file into {queue}", "move_out", into, moves)


def _file_cases() -> Iterator[Case]:
    def path(of: Callable[[Hostile], object]) -> Given:
        return lambda hostile, row: {"path": str(of(hostile)), "own": hostile.own_directory(row)}

    def of_mailboxes(_: Hostile, row: Program) -> bool:
        return row.anywhere or "$virtual_mailbox_base" in row.writes

    def of_auth(_: Hostile, row: Program) -> bool:
        return row.anywhere or "$auth_directory" in row.writes

    def of_secret_configuration(hostile: Hostile, row: Program) -> bool:
        return not ROOT or hostile.is_root(row)

    letter, passwords = path(lambda h: h.letter), path(lambda h: h.passwords)
    yield Case("read a letter", "read_file", letter, of_mailboxes)
    yield Case("list a mailbox", "list_directory", path(lambda h: h.letter.parent), of_mailboxes)
    yield Case("write a letter", "change_file", letter, of_mailboxes)
    yield Case("make a letter", "make_file", path(lambda h: h.letter.parent), of_mailboxes)
    yield Case("read the passwords", "read_file", passwords, of_auth)
    yield Case("change the passwords", "change_file", passwords, of_auth)
    yield Case("list the passwords' directory", "list_directory", path(lambda h: h.passwords.parent), of_auth)
    yield Case("read auth's secret", "read_file", path(lambda h: h.passwords.parent / "secret"), of_auth)
    yield Case(
        "read the private key", "read_file", path(lambda h: h.instance.conf / "tls.pem"), of_secret_configuration
    )
    yield Case("read main.cf", "read_file", path(lambda h: h.instance.conf / "main.cf"), lambda *_: True)
    yield Case("change main.cf", "change_file", path(lambda h: h.instance.conf / "main.cf"), by_anywhere)
    yield Case("make a table", "make_file", path(lambda h: h.instance.conf), by_anywhere)
    yield Case(
        "read the first passwords", "read_file", path(lambda h: h.instance.root / "credentials.txt"), by_anywhere
    )
    yield Case("read a home", "read_file", path(lambda h: h.home / "secret"), by_anywhere)
    yield Case("list a home", "list_directory", path(lambda h: h.home), by_anywhere)
    yield Case("make a file in a home", "make_file", path(lambda h: h.home), by_anywhere)
    yield Case("make a file in /tmp", "make_file", path(lambda h: "/tmp"), by_anywhere)
    yield Case("make a file in the spool", "make_file", path(lambda h: h.instance.spool), by_anywhere)
    yield Case("list private", "list_directory", path(lambda h: h.instance.spool / "private"), by_anywhere)
    yield Case("write the register", "change_file", path(lambda h: h.instance.spool / "pid" / "register"), by_anywhere)
    yield Case("make a file in pid", "make_file", path(lambda h: h.instance.spool / "pid"), by_anywhere)
    yield Case("replace a socket", "remove_file", path(lambda h: h.socket_of("discard")), never_but_anywhere_is_spared)
    if ROOT:
        # There is nothing of the kind without root, or it is not the attacker's.
        yield Case("read the system's passwords", "read_file", path(lambda h: "/etc/shadow"), by_root_anywhere)
        yield Case("list root's home", "list_directory", path(lambda h: "/root"), by_anywhere)
        yield Case(
            "speak to the master", "connect_unix", path(lambda h: h.instance.spool / "pid" / "master.sock"), by_root
        )
        yield Case("hand the master a descriptor", "pass_descriptor", path(lambda h: h.instance.spool / "pid" / "master.sock"), by_root)  # fmt: skip # noqa: E501
    for what, target in (
        ("a letter", letter),
        ("the passwords", passwords),
        ("a home", path(lambda h: h.home / "secret")),
    ):
        # By a link out of where the program may write to where it may not.
        def allowed(hostile: Hostile, row: Program, what: str = what) -> bool:
            if row.anywhere:
                return True
            return (
                of_mailboxes(hostile, row) if what == "a letter" else what == "the passwords" and of_auth(hostile, row)
            )

        yield Case(f"read {what} by a symbolic link", "read_by_symlink", target, allowed)
        yield Case(f"read {what} by a hard link", "read_by_hard_link", target, allowed)
    yield Case("make a device", "make_device", path(lambda h: h.home))
    yield Case("open a file by its handle", "open_by_handle", path(lambda h: h.home))
    yield Case("have a file's handle", "name_to_handle", path(lambda h: h.home))
    yield Case("open a device", "open_device", path(lambda h: h.home), by_anywhere)


def never_but_anywhere_is_spared(hostile: Hostile, row: Program) -> bool:
    return row.anywhere


def _network_cases() -> Iterator[Case]:
    def none(_: Hostile, __: Program) -> dict[str, Any]:
        return {}

    def out(_: Hostile, row: Program) -> bool:
        # Without root there is no namespace, and local has no Landlock: what users' commands do is theirs.
        return row.network or (row.anywhere and not ROOT)

    def listens(hostile: Hostile, row: Program) -> bool:
        return row.anywhere and out(hostile, row)

    def listens_alone(_: Hostile, row: Program) -> bool | None:
        # local in its empty namespace: nobody can come.
        return None if row.anywhere else False

    for name in ("connect_tcp4", "connect_tcp6", "send_udp4", "send_udp6", "connect_fast_open", "connect_mptcp"):
        yield Case(name.replace("_", " "), name, none, out)
    yield Case("listen", "listen_tcp", none, listens_alone)
    yield Case("connect to an abstract socket", "connect_abstract", none, listens)
    for name in ("open_raw", "open_packet", "open_vsock", "open_alg"):
        yield Case(name.replace("_", " "), name, none)


def _process_cases() -> Iterator[Case]:
    def master(hostile: Hostile, _: Program) -> dict[str, Any]:
        assert hostile.instance.process is not None
        return {"pid": hostile.instance.process.pid}

    def sibling(hostile: Hostile, row: Program) -> dict[str, Any]:
        """Of the same account, where there is another."""
        same = [name for name, other in PROGRAMS.items() if name in PROGRAM_NAMES and other.account == row.account]
        other = next(
            (
                name
                for name in ("rewrite", "anvil", "qmgr", "cleanup", "pop3d", "imapd", "virtual", "pipe")
                if name in same and PROGRAMS[name] is not row
            ),
            "qmgr",
        )
        return {"pid": hostile.line(other).pid}

    def tester(_: Hostile, __: Program) -> dict[str, Any]:
        return {"pid": os.getpid()}

    def starts(_: Hostile, row: Program) -> bool:
        return row.programs

    for name in ("execute", "execute_memory", "fork", "fork_by_number", "clone", "spawn_shell"):
        yield Case(name.replace("_", " "), name, master, starts)
    yield Case("clone3", "clone3", master)
    yield Case("clone with powers", "clone_with_powers", master)

    def unbound(_: Hostile, row: Program) -> bool | None:
        """local and pipe: root with few powers may what the other's powers let it, our own account without root all."""
        return None if row.anywhere else False

    def unprivileged_same(_: Hostile, row: Program) -> bool | None:
        return None if row.anywhere and not ROOT else False

    for where, target in (("a sibling", sibling), ("the master", master), ("a stranger", tester)):
        for name in ("trace", "read_memory", "write_memory", "take_descriptor", "compare", "limit_another"):
            yield Case(f"{name.replace('_', ' ')} of {where}", name, target)
        for name in ("send_signal", "send_signal_by_descriptor"):
            yield Case(f"{name.replace('_', ' ')} to {where}", name, target, by_anywhere)
        for name in ("slow_another", "pin_another"):
            yield Case(f"{name.replace('_', ' ')}, {where}", name, target, unbound)
    for where, target in (("the master", master), ("a stranger", tester)):
        for name in ("open_proc_mem", "open_proc_environ"):
            yield Case(f"{name.replace('_', ' ')} of {where}", name, target, unprivileged_same)
        yield Case(f"list descriptors of {where}", "open_proc_descriptors", target, unbound)
    for name in ("open_proc_mem", "open_proc_environ", "open_proc_descriptors"):
        yield Case(f"{name.replace('_', ' ')} of a sibling", name, sibling, unbound)


_ELSEWHERE = {
    "nothing",
    "say",
    "limit_itself",
    "become_root",
    "become_root_group",
    "join_groups",
    "connect_unix",
    "pass_descriptor",
}


def _power_cases() -> Iterator[Case]:
    def none(_: Hostile, __: Program) -> dict[str, Any]:
        return {}

    for name in ("become_root", "become_root_group", "join_groups"):
        yield Case(name.replace("_", " "), name, none, by_root)
    known = {case.attempt for case in (*_queue_cases(), *_file_cases(), *_network_cases(), *_process_cases())}
    for name in ATTEMPTS:
        if name in known or name in _ELSEWHERE:
            continue
        may_change_root = name == "change_root" and ROOT
        yield Case(name.replace("_", " "), name, none, starts_with_root if may_change_root else never)


def starts_with_root(hostile: Hostile, row: Program) -> bool:
    """For a command whose master.cf says chroot."""
    return row.programs and row.root


def _with_landlock(version: int, cases: Iterable[Case]) -> Iterator[Case]:
    return (replace(case, landlock=version) for case in cases)


# Version 3 knows truncate, and 4 TCP, 6 signals and abstract sockets; files of /proc are files.
CASES = [
    *_with_landlock(3, _queue_cases()),
    *_with_landlock(3, _file_cases()),
    *_with_landlock(6, _network_cases()),
    *_with_landlock(6, _process_cases()),
    *_power_cases(),
]
# Of what a program with every file of its account may do, that which would end the test is not done.
SPARED = {"replace a socket", "move a file into"}


@pytest.mark.parametrize("program", PROGRAM_NAMES)
def test_each_attempt_is_refused_and_the_program_goes_on(program: str, hostile: Hostile, doors: Doors) -> None:
    row = PROGRAMS[program]
    line = hostile.line(program)
    assert line.order("nothing")["outcome"] == "done"
    before = len(hostile.instance.log.lines)
    wrong = []
    for case in CASES:
        allowed = case.allowed(hostile, row)
        if not allowed and case.landlock > LANDLOCK:
            continue
        if allowed and (case.name in SPARED or case.name.startswith("change the mode of ")):
            continue
        given = {"port4": doors.port4, "port6": doors.port6, "abstract": doors.abstract, **case.given(hostile, row)}
        found = line.order(case.attempt, **given)
        refused = found["outcome"] == "refused"
        through = refused and found["errno"] in THROUGH.get(case.attempt, ())
        if allowed is None:
            continue
        if allowed and refused and not through:
            wrong.append(f"{case.name}: the table allows it, but {found}")
        if not allowed and (not refused or found["errno"] not in NO):
            wrong.append(f"{case.name}: {found}")
    assert not wrong, f"{program}, {len(wrong)} of {len(CASES)}:\n" + "\n".join(wrong)
    assert line.lives and line.order("nothing")["outcome"] == "done"
    # The kernel says no to the attacker alone: docs/security.md.
    hostile.settle([program])
    assert not [
        text for text in hostile.instance.log.lines[before:] if "refused" in text and f"process {line.pid}," in text
    ]


@pytest.mark.parametrize("program", PROGRAM_NAMES)
def test_each_message_is_refused_that_the_table_does_not_allow(program: str, hostile: Hostile) -> None:
    closed = {callee for callee in CALLS if hostile.is_closed_to(PROGRAMS[program], callee)}
    ask_everybody(hostile, hostile.line(program), program, frozenset(closed))


@pytest.mark.parametrize("program", PROGRAM_NAMES)
def test_what_is_too_large_or_in_too_many_parts_is_not_taken(program: str, hostile: Hostile) -> None:
    """The head of a frame above the limit ends that connection, before it is read; thousands of frames are refused."""
    line = hostile.line(program)
    reached, wrong = 0, []
    for callee, messages in CALLS.items():
        name = min(messages).decode()
        victim = hostile.line(callee)
        path = str(hostile.workers_of(callee)[-1])
        found = line.order("exceed", path=path, size=server._LARGEST_FRAME + 1, count=5000, asked=name)
        if found["outcome"] == "refused":
            if found["errno"] not in DENIED:
                wrong.append(f"{callee}: {found}")
            continue
        reached += 1
        if not found["ended"] or not found["answer"].startswith("F "):
            wrong.append(f"{callee}: {found}")
        if not victim.lives or victim.order("nothing")["outcome"] != "done":
            wrong.append(f"{callee} did not live on")
    assert not wrong, "\n".join(wrong)
    assert reached >= len(PROGRAMS[program].calls) - hostile.is_closed_to(PROGRAMS[program], "proxymap")


@pytest.mark.skipif(not ROOT, reason="only root has accounts apart")
def test_the_kernel_refuses_before_the_callee_does(hostile: Hostile) -> None:
    """Who faces the network knocks at nobody's door but those that the table names."""
    for program, callees in (
        ("imapd", ("cleanup", "rewrite", "proxymap", "virtual", "bounce", "indexer")),
        ("smtpd", ("bounce",)),
        ("smtp", ("bounce",)),
    ):
        line = hostile.line(program)
        for callee in callees:
            found = line.order("connect_unix", path=str(hostile.socket_of(callee)))
            assert found["outcome"] == "refused" and found["errno"] == "EACCES", (program, callee, found)


def test_no_program_holds_a_file_of_others(hostile: Hostile) -> None:
    """Descriptors that were inherited: sockets, pipes, and what the row allows."""
    for program in PROGRAM_NAMES:
        row, pid = PROGRAMS[program], hostile.line(program).pid
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{name}")
            except FileNotFoundError:
                continue
            if not target.startswith(str(hostile.instance.root)):
                continue
            below = os.path.relpath(target, hostile.instance.root).split(os.sep)
            allowed = {"spool": below[1:2] and below[1] in (*row.reads, *row.writes), "data": "data" in str(row.writes)}
            allowed |= {"data": True} if below[:2] == ["data", "accounts"] else {}
            allowed |= {
                "auth": "$auth_directory" in row.writes,
                "mail": "$virtual_mailbox_base" in row.writes,
                "conf": True,
            }
            queue_lock = program == "qmgr" and below[-1] == "queue.lock"
            with open(f"/proc/{pid}/fdinfo/{name}") as file:
                flags = int(re.search(r"flags:\s*(\d+)", file.read())[1], 8)  # type: ignore[index]
            register = below[-1] == "register" and flags & os.O_ACCMODE == os.O_RDONLY
            assert row.anywhere or queue_lock or register or allowed.get(below[0]), (program, target)
