"""Mail through a relay host that wants TLS and a password: one instance submits to another."""

from collections.abc import Iterator

import pytest

from tests.fakes.instance import Instance

ALICE = "alice@example.test"


@pytest.fixture(scope="module")
def relay() -> Iterator[Instance]:
    made = Instance(
        services=("submission", "submissions"),
        main={"smtpd_tls_loglevel": "1", "auth_failure_delay": "0", "transport_maps": "inline:{far.test=discard:}"},
    )
    with made:
        yield made


@pytest.fixture(scope="module")
def sender(relay: Instance) -> Iterator[Instance]:
    made = Instance(
        main={
            "relayhost": f"[127.0.0.1]:{relay.ports['submission']}",
            "smtp_tls_security_level": "verify",
            "smtp_tls_verify_cert_match": "mail.example.test",
            "smtp_tls_CAfile": str(relay.root / "ca.pem"),
            "smtp_tls_loglevel": "1",
            "smtp_sasl_auth_enable": "yes",
            "smtp_sasl_password_maps": "texthash:$config_directory/passwords",
            "smtp_sender_dependent_authentication": "yes",
            "minimal_backoff_time": "1h",
        },
    )
    pem = (relay.conf / "tls.pem").read_text()
    (relay.root / "ca.pem").write_text(pem[pem.index("-----BEGIN CERTIFICATE") :])
    write_password(made, relay)
    with made:
        yield made


def write_password(sender: Instance, relay: Instance, password: str = "") -> None:
    key = f"[127.0.0.1]:{relay.ports['submission']}"
    lines = [f"{key} {ALICE}:{password or relay.credentials[ALICE]}"]
    bob = "bob@example.test"
    lines.append(f"{bob} {bob}:{relay.credentials[bob]}")
    sender.write_table("passwords", "\n".join(lines) + "\n")


@pytest.mark.parametrize(
    "mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "PLAIN", "LOGIN"]
)
def test_every_mechanism(sender: Instance, relay: Instance, mechanism: str) -> None:
    sender.set_main({"smtp_sasl_mechanism_filter": mechanism})
    sender.command("tubepost", "reload")
    start, there = len(sender.log.lines), len(relay.log.lines)
    sender.send("x@far.test", sender="a@example.org")
    sender.log.wait(r"to=<x@far\.test>.*status=sent", start=start)
    sender.log.wait("Verified TLS connection established to", start=start)
    found = relay.log.wait(r"sasl_method=(\S+), sasl_username=(\S+?)(?:,|$)", start=there)[0]
    assert (found[1], found[2]) == (mechanism, ALICE)


def test_by_sender(sender: Instance, relay: Instance) -> None:
    there = len(relay.log.lines)
    sender.send("x@far.test", sender="bob@example.test")
    assert relay.log.wait(r"sasl_username=(\S+?)(?:,|$)", start=there)[0][1] == "bob@example.test"


def test_a_wrong_password_defers(sender: Instance, relay: Instance) -> None:
    write_password(sender, relay, "wrong")
    sender.command("tubepost", "reload")
    start = len(sender.log.lines)
    sender.send("x@far.test", sender="a@example.org")
    sender.log.wait(
        r"dsn=4\.7\.8, .*status=deferred \(SASL authentication failed; server \S+ said: 535 5\.7\.8", start=start
    )


def test_wrapper_mode(sender: Instance, relay: Instance) -> None:
    port = relay.ports["submissions"]
    sender.set_main({"relayhost": f"[127.0.0.1]:{port}", "smtp_tls_wrappermode": "yes"})
    sender.write_table("passwords", f"[127.0.0.1]:{port} {ALICE}:{relay.credentials[ALICE]}\n")
    sender.command("tubepost", "reload")
    start = len(sender.log.lines)
    sender.send("x@far.test", sender="a@example.org")
    sender.log.wait(r"to=<x@far\.test>.*status=sent", start=start)
