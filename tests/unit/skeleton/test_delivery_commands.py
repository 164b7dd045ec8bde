"""Commands of deliveries: what their end means, and that they end."""

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepost.common.skeleton import commands
from tubepost.common.skeleton.commands import (
    OUTPUT_LIMIT,
    Command,
    Ending,
    printable,
    run,
    split_command,
    verdict,
)


@pytest.mark.parametrize(
    ("ending", "dsn", "text"),
    [
        (Ending(0), "2.0.0", ""),
        (Ending(0, "said so"), "2.0.0", "said so"),
        (Ending(67), "5.1.1", "user unknown"),
        (Ending(67, "who?"), "5.1.1", "user unknown. Command output: who?"),
        (Ending(75), "4.3.0", "temporary failure"),
        (Ending(71), "4.3.0", "system resource problem"),
        (Ending(77, "4.7.1 wait"), "4.7.1", "wait"),
        (Ending(75, "5.7.1 never"), "5.7.1", "never"),
        (Ending(1, "2.0.0 fine"), "5.0.0", "fine"),
        (Ending(0, "5.7.1 but it took it"), "2.0.0", "5.7.1 but it took it"),
        (Ending(9), "5.3.0", 'Command died with status 9: "cmd"'),
        (Ending(-15, "x"), "4.3.0", 'Command died with signal 15: "cmd". Command output: x'),
        (Ending(-9, "", True), "5.3.0", 'Command time limit exceeded: "cmd"'),
        (Ending(error="cannot execute cmd: no"), "4.3.0", "temporary failure. Command output: cannot execute cmd: no"),
        (
            Ending(-9, error="error reading message: x"),
            "4.3.0",
            "temporary failure. Command output: error reading message: x",
        ),
    ],
)
def test_verdict(ending: Ending, dsn: str, text: str) -> None:
    found = verdict("cmd", ending)
    assert (found.dsn, found.text) == (dsn, text)
    assert bool(found.diagnostic) is not found.dsn.startswith("2")


@given(st.integers(-64, 255), st.text(max_size=30), st.booleans(), st.sampled_from(["", "trouble"]))
def test_only_status_zero_is_success(status: int, output: str, timed_out: bool, error: str) -> None:
    found = verdict("cmd", Ending(status, output, timed_out, error))
    assert (found.dsn[0] == "2") is (status == 0 and not timed_out and not error)
    assert found.dsn[0] in "245"


def test_output_is_one_printable_line() -> None:
    assert printable(b" a\tb\nc\r\x1b[31m\x00\xff\n") == "a b c__[31m_\ufffd"


def test_a_shell_only_where_one_is_needed() -> None:
    assert split_command("/bin/cat -u") == ("/bin/cat", "-u")
    assert split_command("cat file") == ("cat", "file")
    assert split_command("exit 67") == ("/bin/sh", "-c", "exit 67")
    assert split_command("cat; id") == ("/bin/sh", "-c", "cat; id")
    assert split_command('cat "x"') == ("/bin/sh", "-c", 'cat "x"')
    assert split_command("cat $HOME", "/bin/bash -c") == ("/bin/bash", "-c", "cat $HOME")


def _run(script: str, content: Iterable[bytes] = (), limit: float = 10, **more: str) -> Ending:
    command = Command(
        ("/bin/sh", "-c", script), "sh", os.geteuid(), os.getegid(), limit, {"PATH": "/usr/bin:/bin"}, **more
    )
    return asyncio.run(run(command, iter(content)))


def test_all_of_a_message_arrives_and_output_is_bounded() -> None:
    pieces = (b"x" * 65_000 for _ in range(100))
    assert _run("wc -c", pieces) == Ending(0, "6500000")
    ending = _run("head -c 300000 /dev/zero | tr '\\0' y")
    assert ending.output == "y" * OUTPUT_LIMIT


def test_a_command_that_does_not_read_is_judged_by_its_status() -> None:
    assert _run("exit 67", iter([b"x" * 1_000_000])).status == 67
    assert _run("exec <&-; exit 0", iter([b"x" * 1_000_000])).status == 0


def test_the_time_limit_ends_it_with_all_it_started() -> None:
    begun = time.monotonic()
    ending = _run("sleep 60 & echo $!; trap '' TERM; sleep 60", limit=0.3)
    assert ending.timed_out
    assert time.monotonic() - begun < 5
    deadline = time.monotonic() + 5
    while _is_running(int(ending.output)) and time.monotonic() < deadline:
        os.sched_yield()
    assert not _is_running(int(ending.output))


def _is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_goes_on_in_the_background_does_not_hold_the_delivery() -> None:
    begun = time.monotonic()
    ending = _run("sleep 5 & echo $!; exit 0")
    assert ending.status == 0
    assert time.monotonic() - begun < 4
    os.kill(int(ending.output), 9)


def test_a_message_that_cannot_be_read_to_its_end_is_no_message() -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise OSError(5, "bad disk")

    ending = _run("cat >/dev/null", broken())
    assert verdict("x", ending).dsn == "4.3.0"


def test_what_cannot_be_started() -> None:
    assert "cannot execute /no/dir/.: " in _run("true", folder="/no/dir").error
    command = Command(("/no/such",), "x", os.geteuid(), os.getegid(), 1, {})
    assert asyncio.run(run(command, iter(()))).error == "cannot execute /no/such: No such file or directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may become anyone")
def test_without_root_there_is_one_account() -> None:
    command = Command(("/bin/true",), "x", os.geteuid() + 1, os.getegid(), 1, {})
    assert "runs without root" in asyncio.run(run(command, iter(()))).error


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_with_root_it_is_the_user_and_nobody_else() -> None:
    command = Command(("/usr/bin/id",), "id", 1, 1, 5, {"PATH": "/usr/bin:/bin"})
    output = asyncio.run(run(command, iter(()))).output
    assert output.startswith("uid=1(")
    assert "root" not in output


def _shell(text: str, limit: float = 20) -> Command:
    return Command(("/bin/sh", "-c", text), "sh", os.geteuid(), os.getegid(), limit, {"PATH": "/usr/bin:/bin"})


def test_a_command_that_is_cancelled_while_it_starts_gets_no_empty_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = commands._start
    started = threading.Event()
    children = []

    def slow(command: Command) -> "subprocess.Popen[bytes]":
        children.append(real(command))
        started.set()
        time.sleep(0.1)
        return children[0]

    monkeypatch.setattr(commands, "_start", slow)

    async def cancel() -> None:
        task = asyncio.ensure_future(run(_shell(f"cat > /dev/null; echo done > {tmp_path}/taken"), iter([b"x"])))
        await asyncio.to_thread(started.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert children[0].returncode == -9
    assert not (tmp_path / "taken").exists()


def test_who_reads_on_behind_a_command_that_has_ended_gets_the_whole_message(tmp_path: Path) -> None:
    message = b"x" * 500_000
    reader = f"sleep 0.1; cat > {tmp_path}/part; mv {tmp_path}/part {tmp_path}/taken"
    text = f"exec 3<&0; ({reader}) <&3 >/dev/null 2>&1 & exit 0"
    ending = asyncio.run(run(_shell(text), iter([message[:250_000], message[250_000:]])))
    assert ending == Ending(0)
    deadline = time.monotonic() + 10
    while not (tmp_path / "taken").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (tmp_path / "taken").stat().st_size == len(message)


def test_who_does_not_read_on_behind_it_is_not_waited_for_longer_than_the_limit() -> None:
    begun = time.monotonic()
    text = "exec 3<&0; setsid sleep 3 <&3 >/dev/null 2>&1 & exit 0"
    ending = asyncio.run(run(_shell(text, 0.2), iter([b"x" * 500_000])))
    assert ending.timed_out
    assert time.monotonic() - begun < 2.5
