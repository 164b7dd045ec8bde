"""Who shows a certificate of a known authority logs in without a password (EXTERNAL): over POP3 and over IMAP."""

import imaplib
import poplib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tubepost.common.net import selfsigned

from tests.fakes.instance import PATIENCE, Instance

ALICE = "alice@example.test"


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    made = Instance(
        services=("imaps", "pop3", "pop3s"),
        main={"smtpd_tls_CAfile": "$config_directory/clients.pem", "smtpd_tls_ask_ccert": "yes"},
    )
    key, certificate = selfsigned.make([ALICE])
    made.write_table("clients.pem", certificate.decode()).chmod(0o644)
    (made.root / "alice.pem").write_bytes(key + certificate)
    with made:
        yield made


def _context(instance: Instance, *, shown: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if shown:
        context.load_cert_chain(Path(instance.root / "alice.pem"))
    return context


@pytest.mark.parametrize("way", ["stls", "pop3s"])
def test_pop3(instance: Instance, way: str) -> None:
    def connect(context: ssl.SSLContext) -> poplib.POP3:
        if way == "pop3s":
            return poplib.POP3_SSL("127.0.0.1", instance.ports["pop3s"], context=context, timeout=PATIENCE)
        client = poplib.POP3("127.0.0.1", instance.ports["pop3"], timeout=PATIENCE)
        assert "EXTERNAL" not in client.capa()["SASL"]
        client.stls(context)
        return client

    client = connect(_context(instance))
    assert "EXTERNAL" in client.capa()["SASL"]
    client._shortcmd("AUTH EXTERNAL =")  # type: ignore[attr-defined]
    assert client.stat()[0] == 0
    client.quit()
    # Without a certificate there is nothing to believe.
    client = connect(_context(instance, shown=False))
    assert "EXTERNAL" not in client.capa()["SASL"]
    with pytest.raises(poplib.error_proto, match="not offered"):
        client._shortcmd("AUTH EXTERNAL =")  # type: ignore[attr-defined]
    client.quit()


def test_imap(instance: Instance) -> None:
    with imaplib.IMAP4_SSL(
        "127.0.0.1", instance.ports["imaps"], ssl_context=_context(instance), timeout=PATIENCE
    ) as client:
        assert "AUTH=EXTERNAL" in client.capabilities
        client.authenticate("EXTERNAL", lambda _: b"")
        assert client.select()[0] == "OK"


@pytest.mark.parametrize("service", ["imaps", "pop3s"])
def test_a_certificate_of_ones_own_making_logs_nobody_in(instance: Instance, service: str) -> None:
    """It says the same name, and is not known."""
    path = instance.root / "forged.pem"
    path.write_bytes(b"".join(selfsigned.make([ALICE])))
    context = _context(instance, shown=False)
    context.load_cert_chain(path)
    if service == "imaps":
        with imaplib.IMAP4_SSL("127.0.0.1", instance.ports["imaps"], ssl_context=context, timeout=PATIENCE) as imap:
            assert "AUTH=EXTERNAL" not in imap.capabilities
            assert imap._simple_command("AUTHENTICATE", "EXTERNAL", "=")[0] == "NO"
            with pytest.raises(imaplib.IMAP4.error):
                imap._simple_command("SELECT", "INBOX")
        return
    pop = poplib.POP3_SSL("127.0.0.1", instance.ports["pop3s"], context=context, timeout=PATIENCE)
    assert "EXTERNAL" not in pop.capa()["SASL"]
    with pytest.raises(poplib.error_proto, match="not offered"):
        pop._shortcmd("AUTH EXTERNAL =")  # type: ignore[attr-defined]
    pop.quit()
