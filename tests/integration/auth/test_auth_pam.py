"""auth with PAM: services of the test's own in /etc/pam.d, and a user of this system that is there for the test."""

import base64
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.instance import Instance
from tests.integration.auth.test_auth_socket import Asker

FOLDER = Path("/etc/pam.d")
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not (FOLDER / "other").exists() or not Path("/usr/sbin/useradd").exists(),
    reason="needs PAM's folder of services, and root",
)

NAME = f"tp-{os.getpid()}"
SECRET = "geheim, mit Umläuten"
FAILURES = Path(f"/run/{NAME}-faillock")
SERVICES = {
    "unix": "auth required pam_unix.so nodelay\naccount required pam_unix.so\n",
    "permit": "auth required pam_permit.so\naccount required pam_permit.so\n",
    "slow": "auth optional pam_faildelay.so delay=30000000\nauth required pam_unix.so\naccount required pam_unix.so\n",
    "run": "auth required pam_exec.so expose_authtok quiet /bin/sh -c [read word; test $word = run]\n"
    "account required pam_permit.so\n",
    "hang": "auth required pam_exec.so expose_authtok quiet /bin/sh -c [read word; test $word != hang || sleep 9]\n"
    "account required pam_permit.so\n",
    "deny": "auth required pam_deny.so\naccount required pam_permit.so\n",
    # The password may be right: the account is refused.
    "barred": "auth required pam_permit.so\naccount required pam_deny.so\n",
    "broken": "auth required pam_there_is_none.so\naccount required pam_permit.so\n",
    "client": "auth required pam_unix.so nodelay\naccount required pam_access.so accessfile=/etc/pam.d/{name}-access\n",
    "lock": "auth required pam_faillock.so preauth dir={failures} deny=2\n"
    "auth sufficient pam_unix.so nodelay\nauth [default=die] pam_faillock.so authfail dir={failures} deny=2\n"
    "account required pam_permit.so\n",
}


@pytest.fixture(scope="module")
def user() -> Iterator[str]:
    written = {f"{NAME}-{service}": text for service, text in SERVICES.items()}
    written[f"{NAME}-access"] = "+:ALL:192.0.2.1\n-:ALL:ALL\n"
    try:
        for name, text in written.items():
            (FOLDER / name).write_text(text.format(name=NAME, failures=FAILURES))
        subprocess.run(["useradd", "-M", "-d", f"/tmp/{NAME}", NAME], check=True, timeout=20)
        subprocess.run(["chpasswd"], input=f"{NAME}:{SECRET}\n".encode(), check=True, timeout=20)
        yield NAME
    finally:
        subprocess.run(["userdel", NAME], timeout=20, stderr=subprocess.DEVNULL)
        shutil.rmtree(FAILURES, ignore_errors=True)
        for name in written:
            (FOLDER / name).unlink(missing_ok=True)


def _question(number: int, login: str, secret: str, client: str = "192.0.2.1") -> bytes:
    response = base64.b64encode(f"\0{login}\0{secret}".encode()).decode()
    return f"AUTH\t{number}\tPLAIN\tservice=smtp\trip={client}\tsecured\tresp={response}\n".encode()


def _instance(*services: str, unprivileged: bool = False, **main: str) -> Instance:
    words = ", ".join(f"pam:{NAME}-{service}" for service in services)
    main = {"auth_backends": words, "auth_failure_delay": "0", "auth_cache_time": "0", **main}
    made = Instance(main=main, echo=True)
    path = made.conf / "master.cf"
    text, count = re.subn(
        r"(?m)^(auth\s+unix\s+n\s+)-(?=\s)", rf"\g<1>{'y' if unprivileged else 'n'}", path.read_text()
    )
    assert count == 1
    path.write_text(text)
    return made


def test_a_users_password(user: str) -> None:
    with _instance("unix") as instance:
        asker = Asker(instance)
        assert asker.plain(1, user, SECRET, "secured") == ["OK", "1", f"user={user}"]
        # The name of a user of this system in a domain that is this host.
        address = f"{user}@mail.example.test"
        assert asker.plain(2, address, SECRET, "secured")[:2] == ["OK", "2"]
        assert asker.plain(3, f"{user}@example.org", SECRET, "secured") == ["FAIL", "3"]
        for number, wrong in enumerate(("wrong", "", SECRET + "x", SECRET[:-1]), 10):
            assert asker.plain(number, user, wrong, "secured") == ["FAIL", str(number)], wrong
        assert asker.plain(20, f"{user}-x", SECRET, "secured") == ["FAIL", "20"]
        # root has a number below virtual_minimum_uid.
        assert asker.plain(21, "root", SECRET, "secured") == ["FAIL", "21"]
        subprocess.run(["chage", "-E", "1", user], check=True, timeout=20)
        try:
            assert asker.plain(30, user, SECRET, "secured")[:2] == ["FAIL", "30"]
            instance.log.wait(f"user=<{user}>.*has expired")
        finally:
            subprocess.run(["chage", "-E", "-1", user], check=True, timeout=20)
        assert asker.plain(31, user, SECRET, "secured")[0] == "OK"
        assert not any(SECRET in line for line in instance.log.lines)


def test_many_at_one_time_and_none_waits_for_modules(user: str) -> None:
    """Else pam_faildelay would have each wrong password hold a thread for half a minute."""
    with _instance("slow") as instance:
        askers = [Asker(instance) for _ in range(8)]
        began = time.monotonic()
        for number, asker in enumerate(askers):
            asker.socket.sendall(_question(number, user, SECRET if number % 2 else "wrong"))
        for number, asker in enumerate(askers):
            assert asker.read()[0] == ("OK" if number % 2 else "FAIL")
        assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("service", "answer"),
    [
        ("permit", ["OK", "1"]),
        ("deny", ["FAIL", "1"]),
        ("barred", ["FAIL", "1"]),
        # What is no answer of PAM's is no wrong password either.
        ("broken", ["FAIL", "1", "temp"]),
        # No such file: the service "other" is asked, which denies.
        ("none", ["FAIL", "1"]),
    ],
)
def test_what_a_service_says(user: str, service: str, answer: list[str]) -> None:
    with _instance(service) as instance:
        found = Asker(instance).plain(1, user, "anything", "secured")
        assert found[: len(answer)] == answer, found
        assert Asker(instance).plain(2, "nobody-at-all", "anything", "secured") == ["FAIL", "2"]


def test_modules_hear_whence_the_client_comes(user: str) -> None:
    with _instance("client") as instance:
        asker = Asker(instance)
        assert asker.plain(1, user, SECRET, "secured")[0] == "OK"
        asker.socket.sendall(_question(2, user, SECRET, "192.0.2.7"))
        assert asker.read()[0] == "FAIL"


def test_modules_that_count_failures(user: str) -> None:
    with _instance("lock") as instance:
        asker = Asker(instance)
        assert asker.plain(1, user, SECRET, "secured")[0] == "OK"
        for number in (2, 3):
            assert asker.plain(number, user, "wrong", "secured") == ["FAIL", str(number)]
        assert asker.plain(4, user, SECRET, "secured")[0] == "FAIL"


def test_modules_that_run_programs(user: str) -> None:
    with _instance("run") as instance:
        asker = Asker(instance)
        assert asker.plain(1, user, "run", "secured")[0] == "OK"
        assert asker.plain(2, user, "walk", "secured")[0] == "FAIL"


def test_modules_that_hang_do_not_hold_all_threads_for_ever(user: str) -> None:
    with _instance("hang", auth_pam_timeout="1s") as instance:
        first = instance.pids("auth")
        # More than there are threads.
        askers = [Asker(instance) for _ in range(20)]
        for number, asker in enumerate(askers):
            asker.socket.sendall(_question(number, user, "hang"))
        for number, asker in enumerate(askers):
            answer = asker.read()
            assert answer[:2] == ["FAIL", str(number)] and "temp" in answer, answer
        instance.log.wait("hangs: a new process takes over")
        # Asked of the new one. Its module does as the password says.
        asker = Asker(instance)
        deadline = time.monotonic() + 20
        while asker.plain(100, user, "any", "secured")[0] != "OK":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert instance.pids("auth") != first


def test_without_root_it_says_so(user: str) -> None:
    with _instance("unix", unprivileged=True) as instance:
        assert Asker(instance).plain(1, user, SECRET, "secured")[:2] == ["FAIL", "1"]
        instance.log.wait(r"unpriv n in master\.cf")
