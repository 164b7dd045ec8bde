"""A real Postfix with TLS: it takes our mail at every level, and sends us its own; swaks as a submitting client."""

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tubepost.common.net import certificates, selfsigned

from tests.fakes.instance import Instance
from tests.fakes.postfix import UNUSABLE, PostfixPeer

pytestmark = pytest.mark.skipif(bool(UNUSABLE), reason=UNUSABLE)

_NAME = "mail.peer.test"
_SWAKS_HAS_TLS = subprocess.run(["perl", "-MNet::SSLeay", "-e1"], stderr=subprocess.DEVNULL).returncode == 0


@pytest.fixture(scope="module")
def pem(open_path: Path) -> Path:
    path = open_path / "peer.pem"
    key, certificate = selfsigned.make([_NAME, "*.hosts.peer.test"], ["127.0.0.1"])
    path.write_bytes(key + certificate)
    (path.parent / "ca.pem").write_bytes(certificate)
    (path.parent / "ca.pem").chmod(0o644)
    return path


@pytest.fixture(scope="module")
def peer(pem: Path) -> Iterator[PostfixPeer]:
    main = {
        "smtpd_tls_chain_files": str(pem),
        "smtpd_tls_security_level": "may",
        "smtpd_tls_received_header": "yes",
        "smtpd_tls_loglevel": "1",
        "smtp_tls_security_level": "encrypt",
        "smtp_tls_loglevel": "1",
    }
    with PostfixPeer(main) as made:
        yield made


@pytest.fixture(scope="module")
def instance(peer: PostfixPeer, pem: Path) -> Iterator[Instance]:
    made = Instance(
        services=("submission", "submissions"),
        main={
            "transport_maps": f"inline:{{peer.test=smtp:{peer.nexthop}}}",
            "smtp_tls_loglevel": "1",
            "smtp_tls_policy_maps": "texthash:$config_directory/tls_policy",
            "smtpd_tls_loglevel": "1",
            "smtpd_tls_received_header": "yes",
            "auth_failure_delay": "0",
            "minimal_backoff_time": "1h",
            "smtp_connection_cache_on_demand": "no",
        },
    )
    made.write_table("ca.pem", (pem.parent / "ca.pem").read_text())
    made.set_main({"smtp_tls_CAfile": str(made.conf / "ca.pem")})
    made.write_table("tls_policy", f"{peer.nexthop} may\n")
    with made:
        yield made


def digest(pem: Path) -> tuple[str, str]:
    leaf = certificates.parse_chains(pem.read_bytes(), "x")[0].leaf
    found = certificates.describe(leaf)
    return found.fingerprint, found.public_key_fingerprint


@pytest.mark.parametrize(
    ("policy", "outcome", "words"),
    [
        ("may", "sent", "Trusted TLS connection established to"),
        ("encrypt ciphers=high", "sent", "Trusted TLS connection established to"),
        ("encrypt protocols=TLSv1.2", "sent", r"established to \S+: TLSv1\.2 with cipher"),
        (f"verify match={_NAME}", "sent", "Verified TLS connection established to"),
        ("verify match=.hosts.peer.test", "sent", "Verified TLS connection established to"),
        ("secure match=nexthop", "sent", "Verified TLS connection established to"),
        ("secure match=other.test", "deferred", "Server certificate not verified"),
        ("fingerprint match={fingerprint}", "sent", "Verified TLS connection established to"),
        ("fingerprint match=AA:BB|{key}", "sent", "Verified TLS connection established to"),
        ("fingerprint match=AA:BB", "deferred", "Server certificate not verified"),
        ("fingerprint", "deferred", "client TLS configuration problem"),
        ("nonsense", "deferred", "client TLS configuration problem"),
    ],
)
def test_levels(instance: Instance, peer: PostfixPeer, pem: Path, policy: str, outcome: str, words: str) -> None:
    fingerprint, key = digest(pem)
    policy = policy.format(fingerprint=fingerprint, key=key)
    instance.write_table("tls_policy", f"{peer.nexthop} {policy}\n")
    instance.command("tubepost", "reload")
    start = len(instance.log.lines)
    instance.send("user@peer.test", f"Subject: x\n\n{policy}\n")
    instance.log.wait(rf"to=<user@peer\.test>.*status={outcome}", start=start)
    instance.log.wait(words, start=start)


def test_a_stranger_s_certificate_is_not_trusted(instance: Instance, peer: PostfixPeer, pem: Path) -> None:
    _, certificate = selfsigned.make([_NAME])
    instance.write_table("ca.pem", certificate.decode())
    instance.write_table("tls_policy", f"{peer.nexthop} verify match={_NAME}\n")
    instance.command("tubepost", "reload")
    start = len(instance.log.lines)
    instance.send("user@peer.test")
    instance.log.wait("certificate verification failed for", start=start)
    instance.log.wait(r"dsn=4\.7\.5, status=deferred \(Server certificate not trusted\)", start=start)
    instance.write_table("ca.pem", (pem.parent / "ca.pem").read_text())
    instance.write_table("tls_policy", f"{peer.nexthop} may\n")
    instance.command("tubepost", "reload")


def test_a_message_of_postfix_over_tls(instance: Instance, peer: PostfixPeer) -> None:
    start = len(instance.log.lines)
    subprocess.run(
        ["/usr/sbin/postconf", "-c", str(peer.root / "conf"), "-e", f"relayhost=[127.0.0.1]:{instance.port}"],
        check=True,
    )
    peer.run("postfix", "reload")
    peer.run("sendmail", "-f", "user@peer.test", "alice@example.test", text=b"Subject: from postfix\n\nhello\n")
    instance.log.wait(r"to=<alice@example\.test>.*status=sent", start=start)
    instance.log.wait(r"Anonymous TLS connection established from", start=start)
    text = instance.messages("alice")[-1].read_text()
    assert "with ESMTPS id" in text and "(using TLSv1.3 with cipher" in text


@pytest.mark.skipif(not _SWAKS_HAS_TLS, reason="swaks needs Net::SSLeay for TLS")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("service", ["submission", "submissions"])
def test_swaks_submits(instance: Instance, service: str, mechanism: str) -> None:
    user = "alice@example.test"
    done = subprocess.run(
        [
            "swaks",
            "--server",
            f"127.0.0.1:{instance.ports[service]}",
            "--tls" if service == "submission" else "--tlsc",
            "--auth",
            mechanism,
            "--auth-user",
            user,
            "--auth-password",
            instance.credentials[user],
            "--from",
            user,
            "--to",
            "bob@example.test",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    assert "235 2.7.0" in done.stdout


def test_openssl_s_client_talks_to_us(instance: Instance) -> None:
    client = subprocess.Popen(
        ["openssl", "s_client", "-quiet", "-starttls", "smtp", "-connect", f"127.0.0.1:{instance.ports['submission']}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    give_up = threading.Timer(20, client.kill)
    give_up.start()
    assert client.stdin is not None and client.stdout is not None
    try:
        replies = []
        for command in ("MAIL FROM:<a@example.org>", "RCPT TO:<a@example.org>", "AUTH PLAIN AG5vYm9keQB3cm9uZw=="):
            client.stdin.write(f"{command}\r\n".encode())
            client.stdin.flush()
            replies.append(client.stdout.readline())
    finally:
        give_up.cancel()
        client.kill()
        client.communicate()
    assert [reply[:9] for reply in replies] == [b"250 2.1.0", b"554 5.7.1", b"503 5.5.1"]


def test_plain_text_is_the_last_resort_of_may_alone(instance: Instance, pem: Path) -> None:
    main = {
        "smtpd_tls_chain_files": str(pem),
        "smtpd_tls_security_level": "may",
        "smtpd_tls_protocols": "<=TLSv1.2",
    }
    with PostfixPeer(main) as old:
        instance.set_main({"transport_maps": f"inline:{{peer.test=smtp:{old.nexthop}}}"})
        for policy, outcome in (("may protocols=TLSv1.3", "sent"), ("encrypt protocols=TLSv1.3", "deferred")):
            instance.write_table("tls_policy", f"{old.nexthop} {policy}\n")
            # Mail that has not waited has its second try first.
            for backoff, status in (("1h", "deferred"), ("1s", outcome)):
                instance.set_main({"minimal_backoff_time": backoff})
                instance.command("tubepost", "reload")
                start = len(instance.log.lines)
                if backoff == "1h":
                    instance.send("user@peer.test")
                else:
                    time.sleep(1.1)
                    instance.command("postqueue", "-f")
                instance.log.wait(r"SSL_connect error to \S+: ", start=start)
                line = instance.log.wait(r"to=<user@peer\.test>.*status=(\w+) .*", start=start)[0]
                assert line[1] == status
                assert ("Cannot start TLS: handshake failure" in line[0]) is (status == "deferred")
