"""The master in a real system: reload, throttle, stress, hung and idle children, locks, kills, signals, privileges."""

import os
import pwd
import re
import select
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.instance import PATIENCE, Instance, free_port

QUICK = {"heartbeat_interval": "1s", "heartbeat_timeout": "3s", "service_throttle_time": "2s"}


@contextmanager
def running(main: dict[str, str] | None = None, master: list[str] | None = None) -> Iterator[Instance]:
    with Instance(main={**QUICK, **(main or {})}, master=master or []) as made:
        yield made


def until(true: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


def gone(pid: int, seconds: float = PATIENCE) -> None:
    """Wait for the end of a process that is not our child."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(fd):
        assert select.select([fd], [], [], seconds)[0], f"process {pid} lives"


def hang_up(instance: Instance) -> int:
    """SIGHUP; returns from which line of the log on to look."""
    assert instance.process is not None
    start = len(instance.log.lines)
    instance.process.send_signal(signal.SIGHUP)
    return start


def change_master(instance: Instance, old: str, new: str) -> None:
    path = instance.conf / "master.cf"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def row(instance: Instance, service: str) -> dict[str, object]:
    return next(one for one in instance.status()["services"] if one["service"] == service)


def banner(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        return client.recv(512).decode()


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except ConnectionRefusedError:
        return True
    return False


# -- reload ----------------------------------------------------------------------------------------------------------


def test_a_session_lives_over_a_reload_and_new_ones_see_the_new_configuration() -> None:
    with running() as instance:
        client = instance.smtp()
        client.ehlo()
        old = instance.pids("smtpd")
        instance.set_main({"smtpd_banner": "$myhostname ESMTP after reload"})
        start = hang_up(instance)
        instance.log.wait(r"reload -- version", start=start)
        until(lambda: "after reload" in banner(instance.port), "the new configuration is served")
        client.sendmail("a@example.org", ["alice@example.test"], "Subject: old session\n\nx\n")
        assert client.noop()[0] == 250
        client.quit()
        instance.log.wait(r": removed", start=start)
        for pid in old:
            gone(pid)
        assert not instance.log.count(r"warning: .*smtpd|fatal|panic")


def test_ports_follow_master_cf_and_a_removed_service_is_gone() -> None:
    with running(master=["extra unix - - n - - discard"]) as instance:
        old, instance_port = instance.port, free_port()
        change_master(instance, f"127.0.0.1:{old}", f"127.0.0.1:{instance_port}")
        change_master(instance, "extra unix - - n - - discard", "")
        with instance.smtp() as client:
            start = hang_up(instance)
            instance.log.wait(r"reload -- version", start=start)
            until(lambda: refuses(old), "the old port is closed")
            assert client.noop()[0] == 250
        assert "ESMTP" in banner(instance_port)
        assert "extra" not in {one["service"] for one in instance.status()["services"]}


@pytest.mark.parametrize("line", ["bad inet n - n - many smtpd", "127.0.0.1:1x inet n - n - - smtpd -o client_limit=x"])
def test_a_wrong_master_cf_is_refused_with_file_and_line(line: str) -> None:
    with running() as instance:
        path = instance.conf / "master.cf"
        number = len(path.read_text().splitlines()) + 1
        path.write_text(path.read_text() + line + "\n")
        start = hang_up(instance)
        instance.log.wait(rf"error: reload refused.*master\.cf.*\b{number}\b", start=start)
        assert "ESMTP" in banner(instance.port)
        instance.send("alice@example.test")
        instance.log.wait(r": removed", start=start)


def test_a_port_that_is_taken_refuses_the_reload_and_leaves_nothing_open() -> None:
    with running() as instance, socket.create_server(("127.0.0.1", 0)) as taken:
        port, other = taken.getsockname()[1], free_port()
        with open(instance.conf / "master.cf", "a") as file:
            file.write(f"127.0.0.1:{other} inet n - n - - smtpd\n127.0.0.1:{port} inet n - n - - smtpd\n")
        start = hang_up(instance)
        instance.log.wait(rf"error: reload refused.*cannot listen on 127\.0\.0\.1:{port}", start=start)
        assert refuses(other)
        assert "ESMTP" in banner(instance.port)


@pytest.mark.parametrize(
    ("before", "after"),
    [("", "127.0.0.1:"), ("127.0.0.1:", ""), ("127.0.0.1:", "localhost:"), ("0.0.0.0:", "127.0.0.1:")],
)
def test_the_same_port_under_another_name_is_never_closed(before: str, after: str) -> None:
    port = free_port()
    line = "{}{} inet n - n - - smtpd -o smtpd_banner={}"
    main = {"inet_protocols": "ipv4", "inet_interfaces": "127.0.0.1, 127.0.0.2"}
    with running(main=main, master=[line.format(before, port, "old")]) as instance:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            assert client.recv(512).startswith(b"220 old")
            change_master(instance, line.format(before, port, "old"), line.format(after, port, "new"))
            start = hang_up(instance)
            until(lambda: "new" in banner(port), "the new service answers")
            instance.log.wait(r"master\[\d+\]: reload -- version", start=start)
            client.sendall(b"NOOP\r\n")
            assert client.recv(512).startswith(b"250 "), "who was there is not sent away"
        until(lambda: all("new" in banner(port) for _ in range(5)), "the old children are gone")
        assert not instance.log.count("reload refused")
        # Nobody else is let in beside the new one.
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError):
                other.bind(("127.0.0.1", port))
                other.listen()


def test_a_mistake_beside_such_a_change_leaves_the_old_name() -> None:
    port, taken = free_port(), free_port()
    line = f"127.0.0.1:{port} inet n - n - - smtpd"
    with (
        socket.create_server(("127.0.0.1", taken)),
        running(master=[line]) as instance,
    ):
        change_master(instance, line, f"localhost:{port} inet n - n - - smtpd\n127.0.0.1:{taken} inet n - n - - smtpd")
        start = hang_up(instance)
        instance.log.wait(rf"error: reload refused.*cannot listen on 127\.0\.0\.1:{taken}", start=start)
        assert "ESMTP" in banner(port)
        assert row(instance, f"127.0.0.1:{port}")


def slow_transport(instance: Instance, seconds: float) -> Path:
    """Mail for slow.test goes to a command that takes its time; returns the file with a line a delivery."""
    folder = instance.root / "slow"
    folder.mkdir()
    os.chmod(folder, 0o777)
    script = folder / "deliver"
    script.write_text(
        f"#!/bin/sh\ncat >/dev/null\necho begun >>{folder}/begun\nsleep {seconds}\necho x >>{folder}/done\n"
    )
    os.chmod(script, 0o755)
    user = "daemon" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    with open(instance.conf / "master.cf", "a") as file:
        file.write(f"\nslow unix - n n - - pipe\n    user={user} argv={script}\n")
    instance.set_main(
        {"transport_maps": "inline:{slow.test=slow}", "relay_domains": "slow.test", "minimal_backoff_time": "1s"}
    )
    return folder


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_reload_during_a_delivery_does_not_deliver_twice() -> None:
    instance = Instance(main=QUICK)
    folder = slow_transport(instance, 3)
    with instance:
        instance.send("x@slow.test")
        until(lambda: lines(folder / "begun"), "the delivery has begun")
        start = hang_up(instance)
        instance.log.wait(r"reload -- version", start=start)
        instance.send("alice@example.test")
        instance.log.wait(r": to=<x@slow\.test>.*status=sent", start=start)
        instance.log.wait(r": to=<alice@example\.test>.*status=sent", start=start)
        instance.log.wait(r": removed", count=2, start=start)
        assert lines(folder / "begun") == lines(folder / "done") == 1


# -- children --------------------------------------------------------------------------------------------------------


def test_a_program_that_cannot_start_is_throttled_and_recovers() -> None:
    port = free_port()
    line = f"127.0.0.1:{port} inet n - n - - smtpd"
    with (
        running(master=[f"{line} -o smtpd_timeout=soon"]) as instance,
        socket.create_connection(("127.0.0.1", port), PATIENCE) as client,
    ):
        instance.log.wait(r"no new one for 2s")
        instance.log.wait(r"no new one for 2s", count=2)  # tried again, not in a busy loop
        assert instance.log.count(r"no new one for 2s") <= 3
        assert "ESMTP" in banner(instance.port), "the others work"
        change_master(instance, "-o smtpd_timeout=soon", "-o smtpd_timeout=30s")
        hang_up(instance)
        client.settimeout(PATIENCE)
        assert client.recv(512).startswith(b"220 "), "who waited is served"


def test_a_full_service_leaves_clients_in_the_backlog_and_knows_stress() -> None:
    banner_text = "stress=${stress?{on}:{off}} ESMTP"
    instance = Instance(main={**QUICK, "smtpd_banner": banner_text, "client_limit": "2", "overload_wait_time": "0"})
    path = instance.conf / "master.cf"
    path.write_text(
        re.sub(rf"(?m)^(127\.0\.0\.1:{instance.port}\s+inet(?:\s+\S+){{4}}\s+)\S+", r"\g<1>1", path.read_text())
    )
    # The same master with a calm of one second instead of a thousand.
    code = (
        "import sys, tubepost.master.main as m; m._STRESS_CALM = 1.0; from tubepost.master.__main__ import main; main()"
    )
    instance.master = [sys.executable, "-I", "-c", code]
    with instance:
        held = [socket.create_connection(("127.0.0.1", instance.port), PATIENCE) for _ in range(2)]
        for client in held:
            assert b"stress=off" in client.recv(512)
        instance.log.wait(r"stress on")
        instance.log.wait(r"has reached its process limit 1")
        waiting = socket.create_connection(("127.0.0.1", instance.port), PATIENCE)
        waiting.settimeout(0.5)
        with pytest.raises(TimeoutError):
            waiting.recv(512)
        assert row(instance, f"127.0.0.1:{instance.port}")["stress"] is True
        held.pop().close()
        waiting.settimeout(PATIENCE)
        assert b"stress=on" in waiting.recv(512)
        for client in (*held, waiting):
            client.close()
        instance.log.wait(r"stress off")
        until(lambda: "stress=off" in banner(instance.port), "the stress is over for new sessions")


def test_a_hung_child_is_killed_and_replaced() -> None:
    with running() as instance:
        assert "ESMTP" in banner(instance.port)
        (pid,) = instance.pids("smtpd")
        os.kill(pid, signal.SIGSTOP)
        instance.log.wait(rf"smtpd\[{pid}\] does not answer: killed")
        gone(pid)
        assert "ESMTP" in banner(instance.port)
        assert pid not in instance.pids("smtpd")


def test_a_master_that_was_frozen_kills_nobody() -> None:
    with running() as instance:
        with instance.smtp() as client:
            client.ehlo()
            assert instance.process is not None
            before = instance.pids()
            os.kill(instance.process.pid, signal.SIGSTOP)
            time.sleep(5)
            os.kill(instance.process.pid, signal.SIGCONT)
            time.sleep(1.5)
            assert client.noop()[0] == 250
        assert set(before) <= set(instance.pids())
        assert not instance.log.count("does not answer")


def test_idle_programs_leave_and_come_back() -> None:
    with running({"max_idle": "1s"}) as instance:
        instance.send("alice@example.test")
        instance.log.wait(r": removed")
        until(lambda: not instance.pids("smtpd") and not instance.pids("virtual"), "the idle have left")
        assert instance.pids("qmgr") and instance.pids("log")
        instance.send("alice@example.test")
        instance.log.wait(r": removed", count=2)
        assert not instance.log.count(r"warning|fatal|panic")


def test_children_hold_nothing_of_each_other() -> None:
    """No child has the listening socket of another service, the lock, or the master's end of another's control."""
    with running() as instance:
        assert "ESMTP" in banner(instance.port)
        inodes: dict[int, set[str]] = {}
        for pid in instance.pids():
            links = []
            for name in os.listdir(f"/proc/{pid}/fd"):
                try:
                    links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
                except FileNotFoundError:
                    continue
            assert not any("master.pid" in link for link in links)
            inodes[pid] = {link for link in links if link.startswith("socket:")}
        every = sorted(inodes)
        for index, pid in enumerate(every):
            for other in every[index + 1 :]:
                assert not inodes[pid] & inodes[other], f"{pid} and {other} share a socket"


# -- one master, and its end -----------------------------------------------------------------------------------------


def test_a_second_master_on_the_same_instance_ends_with_69() -> None:
    with running() as instance:
        second = subprocess.run([*instance.master, "-c", str(instance.conf)], capture_output=True, timeout=30)
        assert second.returncode == 69 and b"another master" in second.stderr
        instance.send("alice@example.test")
        instance.log.wait(r": removed")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_sessions_politely_and_finishes_deliveries(number: signal.Signals) -> None:
    instance = Instance(main=QUICK)
    folder = slow_transport(instance, 2)
    try:
        instance.start()
        client = instance.smtp()
        client.ehlo()
        instance.send("x@slow.test")
        until(lambda: lines(folder / "begun"), "the delivery has begun")
        assert instance.process is not None
        pids = instance.pids()
        instance.process.send_signal(number)
        with pytest.raises((smtplib.SMTPServerDisconnected, smtplib.SMTPResponseException)):
            while True:
                code, _ = client.docmd("NOOP")
                if code == 421:
                    raise smtplib.SMTPServerDisconnected
                time.sleep(0.05)
        assert instance.process.wait(30) == 0
        for pid in pids:
            gone(pid)
        assert lines(folder / "done") == 1
        assert instance.log.count(r": to=<x@slow\.test>.*status=sent") == 1
        assert instance.log.count(r"stopped$") == 1 and not instance.log.count(r"panic|fatal|signal 9")
        assert instance.queued("active") == []
    finally:
        instance.stop()
        instance.remove()


def test_when_the_master_is_killed_its_children_leave_and_a_new_one_starts() -> None:
    instance = Instance(main=QUICK)
    try:
        instance.start()
        instance.send("alice@example.test")
        instance.log.wait(r": removed")
        pids, template = instance.pids(), instance.status()["template"]
        assert instance.process is not None
        instance.process.kill()
        instance.process.wait(PATIENCE)
        instance.start()
        for pid in (*pids, template):
            gone(pid)
        instance.send("alice@example.test")
        instance.log.wait(r": removed")
        assert len(instance.messages()) == 2
    finally:
        instance.stop()
        instance.remove()


def test_a_new_master_waits_for_the_queue_manager_of_a_killed_one() -> None:
    instance = Instance(main=QUICK)
    folder = slow_transport(instance, 4)
    try:
        instance.start()
        instance.send("x@slow.test")
        until(lambda: lines(folder / "begun"), "the delivery has begun")
        (old,) = instance.pids("qmgr")
        assert instance.process is not None
        instance.process.kill()
        instance.process.wait(PATIENCE)
        instance.start()
        instance.log.wait(r"qmgr: the queue manager of a master that was killed is finishing")
        instance.send("alice@example.test")
        gone(old)
        instance.log.wait(r": to=<alice@example\.test>.*status=sent")
        until(lambda: not instance.queued("active") and not instance.queued("incoming"), "the queue is empty")
        assert lines(folder / "begun") == lines(folder / "done") == 1
    finally:
        instance.stop()
        instance.remove()


def test_orphans_come_to_the_master_and_are_reaped() -> None:
    instance = Instance(main=QUICK)
    folder = slow_transport(instance, 0)
    (folder / "deliver").write_text(f"#!/bin/sh\ncat >/dev/null\n(sleep 1 & echo $! >{folder}/orphan) &\n")
    with instance:
        instance.send("x@slow.test")
        instance.log.wait(r"status=sent")
        until(lambda: lines(folder / "orphan"), "the command left something behind")
        orphan = int((folder / "orphan").read_text())
        until(lambda: not os.path.exists(f"/proc/{orphan}"), "it is gone, not a zombie", 10)


def test_tests_that_are_killed_leave_no_system_behind(tmp_path: Path) -> None:
    script = tmp_path / "begun.py"
    script.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n"
        "from tests.fakes.instance import Instance\n"
        "instance = Instance().start()\n"
        "instance.send('alice@example.test')\n"
        "instance.log.wait('status=sent')\n"
        "print(instance.process.pid, instance.status()['template'], *instance.pids(), instance.root, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        *numbers, root = killed.stdout.readline().split()
        killed.kill()
    try:
        assert len(numbers) > 5
        until(lambda: not any(os.path.exists(f"/proc/{int(number)}") for number in numbers), "all have ended")
    finally:
        shutil.rmtree(root, ignore_errors=True)


def test_start_status_and_stop_say_how_it_went() -> None:
    instance = Instance(main={**QUICK, "maillog_file": ""})
    # Where its owner, who writes the log, may make a file.
    instance.set_main(
        {"maillog_file": str(instance.root / "data/mail.log"), "maillog_file_prefixes": str(instance.root)}
    )

    def tubepost(*words: str) -> "subprocess.CompletedProcess[str]":
        return instance.command("tubepost", *words)

    try:
        assert tubepost("status").returncode == 1
        assert tubepost("stop").returncode == 1
        started = tubepost("start")
        assert started.returncode == 0, started.stderr
        assert tubepost("start").returncode == 69
        status = tubepost("status")
        assert status.returncode == 0 and "qmgr" in status.stdout and "SERVICE" in status.stdout
        assert tubepost("reload").returncode == 0
        stopped = tubepost("stop")
        assert stopped.returncode == 0, stopped.stderr
        assert tubepost("status").returncode == 1
        change_master(instance, "qmgr", "no such columns\nqmgr")
        assert tubepost("start").returncode == 78
    finally:
        tubepost("stop")
        instance.remove()


# -- privileges ------------------------------------------------------------------------------------------------------


def facts(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give privileges away")
def test_children_have_no_more_than_they_need() -> None:
    owner = pwd.getpwnam("nobody")
    instance = Instance(main=QUICK)
    subprocess.run(["chown", "-R", "nobody:", str(instance.spool), str(instance.root / "data")], check=False)
    instance.set_main({"mail_owner": "nobody"})
    with instance:
        with instance.smtp() as client:
            client.ehlo()
            client.sendmail("a@example.org", ["alice@example.test"], "Subject: x\n\nx\n")
        instance.log.wait(r": removed")
        mine = os.readlink("/proc/self/ns/net")
        for program in ("smtpd", "cleanup", "qmgr", "rewrite", "virtual"):
            (pid, *_) = instance.pids(program)
            found = facts(pid)
            assert found["NoNewPrivs"] == "1" and found["Seccomp"] == "2", program
            if program == "virtual":
                continue  # root, to act as the owners of mailboxes; its capabilities are its own test
            assert found["Uid"].split() == [str(owner.pw_uid)] * 4, program
            assert found["Gid"].split() == [str(owner.pw_gid)] * 4, program
            assert found["Groups"].strip() == "", program
            assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == 0, program
        empty = {program: os.readlink(f"/proc/{instance.pids(program)[0]}/ns/net") for program in ("cleanup", "qmgr")}
        for program, namespace in empty.items():
            assert namespace != mine, program
            with open(f"/proc/{instance.pids(program)[0]}/net/dev") as file:
                assert [line.split(":")[0].strip() for line in file.readlines()[2:]] == ["lo"], program
        assert os.readlink(f"/proc/{instance.pids('smtpd')[0]}/ns/net") == mine
        kept = int(facts(instance.pids("virtual")[0])["CapEff"], 16)
        assert kept & ~((1 << 19) - 1) == 0 and not kept & (1 << 12), "neither the network's nor the system's"


def test_a_reload_takes_the_log_to_another_file_and_loses_no_line() -> None:
    with running({"maillog_file_prefixes": "/dev/stdout, /tmp"}) as instance:
        path = instance.root / "data" / "mail.log"
        instance.set_main({"maillog_file": str(path)})
        hang_up(instance)
        until(path.exists, "the new log program writes")
        instance.send("alice@example.test")
        until(lambda: "status=sent" in path.read_text(), "a line of the delivery")
        with socket.create_connection(("127.0.0.1", instance.port), PATIENCE) as client:
            client.recv(512)
        until(lambda: "lost connection after CONNECT" in path.read_text(), "a line of the session")
        assert len(instance.pids("log")) == 1


def test_a_service_may_listen_on_many_addresses() -> None:
    port = free_port()
    addresses = ", ".join(f"127.0.0.{number}" for number in range(1, 101))
    with running({"inet_interfaces": addresses}, [f"{port} inet n - n - - smtpd"]) as instance:
        for number in (1, 50, 100):
            with socket.create_connection((f"127.0.0.{number}", port), PATIENCE) as client:
                assert client.recv(512).startswith(b"220 ")
        assert not instance.log.count("template process")
