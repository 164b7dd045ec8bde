"""Nobody but this host may send a password in the clear: a client with another address, in a network of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Run where 192.0.2.7 is an address of the loopback interface: a stranger's, as far as the servers can tell.
_STRANGER = """
import base64, json, socket, sys
from tests.fakes.instance import PATIENCE, Instance

answers = {}
with Instance(services=("imap", "pop3", "submission")) as instance:
    user, password = "alice@example.test", instance.credentials["alice@example.test"]
    plain = base64.b64encode(f"\\0{user}\\0{password}".encode()).decode()
    talks = {
        "imap": ["a CAPABILITY", f"b LOGIN {user} {password}", f"c AUTHENTICATE PLAIN {plain}", "d NOOP"],
        "pop3": ["CAPA", f"USER {user}", f"AUTH PLAIN {plain}", "NOOP"],
        "submission": ["EHLO a.example", f"AUTH PLAIN {plain}", "NOOP"],
    }
    for source in ("192.0.2.7", "127.0.0.1"):
        for service, lines in talks.items():
            with socket.create_connection(("127.0.0.1", instance.ports[service]), PATIENCE, (source, 0)) as line:
                file = line.makefile("rwb")
                heard = [file.readline().decode()]
                for text in lines:
                    file.write(f"{text}\\r\\n".encode())
                    file.flush()
                    ends = {"imap": text[:2], "pop3": ".\\r\\n" if text == "CAPA" else "", "submission": ""}[service]
                    while True:
                        heard.append(got := file.readline().decode())
                        if not got or (got.startswith(ends) and got[3:4] != "-"):
                            break
                answers[f"{service} {source}"] = heard
json.dump(answers, sys.stdout)
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="takes root, and a network of its own")
def test_a_stranger_is_offered_none_and_heard_none() -> None:
    setup = 'ip link set lo up && ip addr add 192.0.2.7/32 dev lo && exec "$@"'
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", setup, "sh", sys.executable, "-c", _STRANGER],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    heard: dict[str, list[str]] = json.loads(done.stdout)
    imap = "".join(heard["imap 192.0.2.7"])
    assert "LOGINDISABLED" in imap and "AUTH=PLAIN" not in imap and "AUTH=LOGIN" not in imap
    assert "b NO [PRIVACYREQUIRED]" in imap and "\r\nc NO [PRIVACYREQUIRED]" in imap and "d OK" in imap
    pop = heard["pop3 192.0.2.7"]
    assert not any(line.startswith(("USER", "SASL PLAIN")) for line in pop) and "STLS\r\n" in pop
    assert [line[:4] for line in pop[-3:]] == ["-ERR"] * 3
    smtp = "".join(heard["submission 192.0.2.7"])
    assert "250-AUTH" not in smtp and "250 AUTH" not in smtp and "\r\n530 5.7.0 Must issue a STARTTLS" in smtp
    # The same from this host, as the servers are set up: else the test would say nothing.
    assert "b OK" in "".join(heard["imap 127.0.0.1"])
    assert "+OK" in heard["pop3 127.0.0.1"][-3]
