"""docker compose up, for real: build, healthy, mail in and read, restart keeps it, clean stop.

Needs a Docker engine that answers and the base image (or a registry to pull it from); `make container-test` brings
both up where it can. Elsewhere the test says what is missing and is skipped.
"""

import imaplib
import os
import poplib
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tubepost.common.config.instance import PORTS

from tests.fakes.instance import free_port

ROOT = Path(__file__).resolve().parents[3]


def _run(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        words, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600, check=False
    )


# compose v2, a plugin of Docker's command, and v1, a program in Python: each is tried where it is there.
COMPOSE = {"v2": ["docker", "compose"], "v1": ["docker-compose"]}


class Container:
    def __init__(self, compose: list[str]) -> None:
        self.compose = compose
        self.ports = {service: free_port() for service in PORTS}
        self.port = self.ports["smtp"]
        self.environment = {
            "COMPOSE_PROJECT_NAME": f"tubeposttest{os.getpid()}",
            **{f"TUBEPOST_{service.upper()}_PORT": str(port) for service, port in self.ports.items()},
        }

    def __call__(self, *words: str) -> str:
        done = _run(*self.compose, *words, **self.environment)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def inside(self, command: str) -> str:
        return self("exec", "-T", "tubepost", "sh", "-c", command)

    def up(self) -> None:
        self("up", "-d", "--no-build")
        # The health check itself, until it says yes.
        self.inside("for n in $(seq 100); do tubepost status >/dev/null 2>&1 && exit 0; sleep 0.2; done; exit 1")


@pytest.fixture(scope="module")
def image() -> None:
    if not shutil.which("docker") or _run("docker", "info").returncode != 0:
        pytest.skip("no Docker engine answers here (make container-test starts one)")
    built = _run("docker", "build", "--network", "host", "-t", "tubepost:latest", ".")
    if built.returncode != 0 and "pull" in built.stderr + built.stdout:
        pytest.skip("the base image cannot be pulled here (make container-test makes one)")
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]


@pytest.fixture(params=COMPOSE)
def container(image: None, request: pytest.FixtureRequest) -> Iterator[Container]:
    words = COMPOSE[request.param]
    version = _run(*words, "version", "--short") if shutil.which(words[0]) else None
    # docker-compose may be a later one, of another name only.
    if version is None or version.returncode != 0 or (request.param == "v1") != version.stdout.startswith("1."):
        pytest.skip(f"compose {request.param} is not installed")
    made = Container(words)
    # A file that is read, but with words of warning, is one that the next release may refuse.
    checked = _run(*words, "config", "--quiet", **made.environment)
    assert (checked.returncode, checked.stderr) == (0, "")
    yield made
    _run(*words, "down", "-v", **made.environment)


@pytest.mark.timeout(900)
def test_the_container_takes_mail_keeps_it_over_a_restart_and_stops_cleanly(container: Container) -> None:
    container.up()
    with smtplib.SMTP("127.0.0.1", container.port, timeout=30) as client:
        client.sendmail("a@example.org", ["alice@example.test"], "Subject: hello\n\nfrom outside\n")
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("a@example.org", ["x@example.net"], "Subject: no relay\n\n")
    container.inside("printf 'Subject: hi\\n\\nfrom inside\\n' | sendmail bob@example.test")
    found = "ls /srv/tubepost/mail/example.test/{0}/new/* >/dev/null 2>&1"
    wait = f"for n in $(seq 300); do {found} && exit 0; sleep 0.1; done; exit 1"
    for user in ("alice", "bob"):
        container.inside(wait.format(user))
    assert "Mail queue is empty" in container.inside("mailq")
    assert "tubepost.master" in container.inside("tr '\\0' ' ' < /proc/1/cmdline")
    credentials = container.inside("cat /srv/tubepost/conf/credentials.txt")
    password = dict(line.split() for line in credentials.splitlines())["alice@example.test"]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with imaplib.IMAP4_SSL("127.0.0.1", container.ports["imaps"], ssl_context=context, timeout=30) as imap:
        imap.login("alice@example.test", password)
        assert imap.select() == ("OK", [b"1"])
    pop = poplib.POP3("127.0.0.1", container.ports["pop3"], timeout=30)
    pop.stls(context)
    pop.user("alice@example.test")
    pop.pass_(password)
    assert b"from outside" in pop.retr(1)[1]
    pop.quit()
    # Each of its accounts owns what is its own, and the kernel says so.
    owned = container.inside("stat -c %U /srv/tubepost/mail /srv/tubepost/auth /srv/tubepost/spool/active")
    assert owned.split() == ["tubepost-mail", "tubepost-auth", "tubepost"]
    told = _run(
        *container.compose, "exec", "-T", "tubepost", "tubepost", "services", "--privileges", **container.environment
    )
    assert (told.returncode, "smtpd" in told.stdout) == (0, True), told.stdout + told.stderr

    container("stop")
    names = container("ps", "-q", "-a") if container.compose[-1] == "compose" else container("ps", "-q")
    code = _run("docker", "inspect", "--format", "{{.State.ExitCode}}", names.split()[0]).stdout.strip()
    assert code == "0"
    container("rm", "-f")

    container.up()
    box = "/srv/tubepost/mail/example.test/alice"
    assert "from outside" in container.inside(f"grep -r 'from outside' {box}/new {box}/cur")
    assert container.inside("cat /srv/tubepost/conf/credentials.txt") == credentials
