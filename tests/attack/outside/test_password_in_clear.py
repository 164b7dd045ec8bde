"""Nobody but this host may send a password, or a token, in the clear: a client with another address, in a network of
its own. Each mechanism that is offered within TLS is tried before it."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tubepost.common.sasl.mechanisms import PLAINTEXT

STRANGER, THIS_HOST = "192.0.2.7", "127.0.0.1"
# They prove that the client knows the password, and do not tell it.
PROOFS = {"SCRAM-SHA-256", "SCRAM-SHA-1"}
BOUND = {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"}
# With the words that are said here; what is not named is answered by a challenge. Nobody vouches for the tokens.
HEARD = {
    "PLAIN": ("a OK", "+OK", "235"),
    **dict.fromkeys(("XOAUTH2", "OAUTHBEARER"), ("a NO [UNAVAILABLE]", "-ERR [SYS/TEMP]", "454")),
}
SETUP = f"ip link set lo up && ip addr add {STRANGER}/32 dev lo && exec "
# Root makes a network; others make it in a user namespace, and go on in another as who they are.
NETWORK = (
    ["unshare", "-n", "sh", "-c", SETUP + '"$@"', "sh"]
    if os.geteuid() == 0
    else ["unshare", "-rn", "sh", "-c", f'{SETUP}unshare --map-user={os.getuid()} "$@"', "sh"]
)
# Run where 192.0.2.7 is an address of the loopback interface: a stranger's, as far as the servers can tell.
_PROGRAM = """
import base64, json, socket, sys
from tests.fakes.instance import PATIENCE, Instance
from tests.fakes.tls import trusting

MAIN = {"auth_failure_delay": "0", "oauth_introspection_url": "http://127.0.0.1:9/", "smtpd_error_sleep_time": "0"}
STARTS = {"imap": "s STARTTLS", "pop3": "STLS", "submission": "STARTTLS"}
WORDS = {"imap": "a AUTHENTICATE", "pop3": "AUTH", "submission": "AUTH"}
OFFERS = {"imap": "a CAPABILITY", "pop3": "CAPA", "submission": "EHLO a.example"}
answers = {}


def ask(service, source, secure, command, more=""):
    # A connection for each: after some errors a server hangs up.
    with socket.create_connection(("127.0.0.1", instance.ports[service]), PATIENCE, (source, 0)) as line:
        file = line.makefile("rwb")
        file.readline()

        def say(text):
            file.write(f"{text}\\r\\n".encode())
            file.flush()
            heard = []
            while got := file.readline().decode():
                heard.append(got)
                if service == "imap" and got.startswith((text[:2], "+ ")):
                    break
                if service == "submission" and got[3:4] != "-":
                    break
                if service == "pop3" and (text != "CAPA" or got == ".\\r\\n"):
                    break
            return heard

        if service == "submission":
            say("EHLO a.example")
        if secure:
            say(STARTS[service])
            line = trusting().wrap_socket(line)
            file = line.makefile("rwb")
            if service == "submission":
                say("EHLO a.example")
        heard = say(command)
        heard += say(more) if more else []
        line.close()
        return heard


with Instance(services=("imap", "pop3", "submission"), main=MAIN) as instance:
    user, password = "alice@example.test", instance.credentials["alice@example.test"]
    initial = {
        "PLAIN": f"\\0{user}\\0{password}", "LOGIN": user,
        "XOAUTH2": f"user={user}\\1auth=Bearer token\\1\\1", "OAUTHBEARER": f"n,a={user},\\1auth=Bearer token\\1\\1",
        "SCRAM-SHA-1": f"n,,n={user},r=abcdefgh", "SCRAM-SHA-256": f"n,,n={user},r=abcdefgh",
        "SCRAM-SHA-1-PLUS": f"p=tls-server-end-point,,n={user},r=abcdefgh",
        "SCRAM-SHA-256-PLUS": f"p=tls-server-end-point,,n={user},r=abcdefgh",
    }
    for service in WORDS:
        for source, secure in (("192.0.2.7", False), ("192.0.2.7", True), ("127.0.0.1", False)):
            key = f"{service} {source} {'tls' if secure else 'clear'}"
            answers[f"{key} offer"] = ask(service, source, secure, OFFERS[service])
            for mechanism, words in initial.items() if source == "192.0.2.7" else ():
                command = f"{WORDS[service]} {mechanism} {base64.b64encode(words.encode()).decode()}"
                answers[f"{key} {mechanism}"] = ask(service, source, secure, command)
            if not secure and service == "imap":
                answers[f"{key} command"] = ask(service, source, False, f"b LOGIN {user} {password}", "d NOOP")
            elif not secure and service == "pop3":
                answers[f"{key} command"] = ask(service, source, False, f"USER {user}", f"PASS {password}")
json.dump(answers, sys.stdout)
"""


@functools.cache
def _can_make_networks() -> bool:
    try:
        return subprocess.run([*NETWORK, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def heard() -> dict[str, str]:
    if not _can_make_networks():
        pytest.skip("takes a network of its own, which this system gives nobody but root")
    done = subprocess.run(
        [*NETWORK, sys.executable, "-c", _PROGRAM],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, list[str]] = json.loads(done.stdout)
    return {key: "".join(lines) for key, lines in answers.items()}


def offered(heard: dict[str, str], key: str) -> set[str]:
    """Mechanisms in what a server says of itself."""
    service = key.partition(" ")[0]
    found = set()
    for line in heard[f"{key} offer"].splitlines():
        words = line.replace("250-", "250 ").split()
        if service == "imap":
            found |= {word[5:] for word in words if word.startswith("AUTH=")}
        elif words[:1] == ["SASL"]:
            found |= set(words[1:])
        elif words[:2] == ["250", "AUTH"]:
            found |= set(words[2:])
    return found


@pytest.mark.parametrize("service", ["imap", "pop3", "submission"])
def test_what_is_offered(heard: dict[str, str], service: str) -> None:
    assert offered(heard, f"{service} {STRANGER} tls") >= PLAINTEXT | PROOFS, "what is refused before TLS is there"
    before = offered(heard, f"{service} {STRANGER} clear")
    if service == "submission":
        assert not before, "the port asks for TLS before all"
    else:
        assert before == PROOFS
        # This host itself may: so the refusals of a stranger are for being one.
        assert offered(heard, f"{service} {THIS_HOST} clear") == PLAINTEXT | PROOFS


@pytest.mark.parametrize("mechanism", sorted(PLAINTEXT | BOUND))
def test_a_stranger_is_heard_none(heard: dict[str, str], mechanism: str) -> None:
    refusals = {"imap": "a NO [PRIVACYREQUIRED]", "pop3": "-ERR", "submission": "530 5.7.0 Must issue a STARTTLS"}
    for service, refusal in refusals.items():
        assert heard[f"{service} {STRANGER} clear {mechanism}"].startswith(refusal)
        # It is the line that is refused: within TLS the same words are looked into.
        inside = heard[f"{service} {STRANGER} tls {mechanism}"]
        assert inside.startswith(HEARD.get(mechanism, ("+ ", "334 "))), inside


@pytest.mark.parametrize("mechanism", sorted(PROOFS))
def test_a_proof_may_be_given_to_anybody(heard: dict[str, str], mechanism: str) -> None:
    for service in ("imap", "pop3"):
        assert heard[f"{service} {STRANGER} clear {mechanism}"].startswith("+ ")


def test_commands_with_a_password(heard: dict[str, str]) -> None:
    assert "LOGINDISABLED" in heard[f"imap {STRANGER} clear offer"]
    assert heard[f"imap {STRANGER} clear command"].startswith("b NO [PRIVACYREQUIRED]")
    assert "\nd OK" in heard[f"imap {STRANGER} clear command"]
    capabilities = heard[f"pop3 {STRANGER} clear offer"].splitlines()
    assert "USER" not in capabilities and "STLS" in capabilities
    assert [line[:4] for line in heard[f"pop3 {STRANGER} clear command"].splitlines()] == ["-ERR"] * 2
    # The same from this host, as the servers are set up: else the test would say nothing.
    assert "b OK" in heard[f"imap {THIS_HOST} clear command"]
    assert [line[:3] for line in heard[f"pop3 {THIS_HOST} clear command"].splitlines()] == ["+OK"] * 2
