"""A client that shows a certificate, to a server that lets it relay for it; both confined, keys read before."""

import smtplib
import ssl

import pytest

from tubepost.common.net import certificates, clientcerts, selfsigned

from tests.fakes.instance import Instance


@pytest.mark.parametrize("known", [True, False], ids=["of a known authority", "of its own making"])
def test_relaying_by_certificate(known: bool) -> None:
    if not known and clientcerts._library() is None:
        pytest.skip("not with this Python")
    key, certificate = selfsigned.make(["client.example.test"])
    fingerprint = certificates.describe(certificates.parse_chains(key + certificate, "x")[0].leaf).fingerprint
    relay = Instance(
        main={
            "smtpd_tls_ask_ccert": "yes",
            "smtpd_tls_received_header": "yes",
            "smtpd_tls_loglevel": "2",
            "mynetworks": "192.0.2.0/24",
            "smtpd_relay_restrictions": "permit_tls_clientcerts, reject_unauth_destination",
            "relay_clientcerts": f"inline:{{ {{ {fingerprint} = client }} }}",
            "transport_maps": "inline:{far.test=discard:}",
        }
    )
    relay.write_table("clients.pem", certificate.decode())
    if known:
        relay.set_main({"smtpd_tls_CAfile": str(relay.conf / "clients.pem")})
    word = "Trusted" if known else "Untrusted"
    sender = Instance(
        main={"relayhost": f"[127.0.0.1]:{relay.port}", "smtp_tls_security_level": "encrypt", "smtp_tls_loglevel": "1"}
    )
    path = sender.write_table("client.pem", (key + certificate).decode())
    path.chmod(0o600)
    sender.set_main({"smtp_tls_chain_files": str(path)})
    with relay, sender:
        sender.send("x@far.test")
        sender.log.wait(r"to=<x@far\.test>.*status=sent")
        relay.log.wait(rf"{word}: subject_CN=client\.example\.test, issuer=client\.example\.test, fingerprint=")
        relay.log.wait(f"{word} TLS connection established from")
        # Without it there is no relaying.
        sender.set_main({"smtp_tls_chain_files": ""})
        sender.command("tubepost", "reload")
        start = len(sender.log.lines)
        sender.send("y@far.test")
        sender.log.wait(r"to=<y@far\.test>.*554 5\.7\.1", start=start)


def test_a_certificate_that_nobody_knows_opens_nothing_and_closes_nothing() -> None:
    key, certificate = selfsigned.make(["stranger.example.test"])
    relay = Instance(
        main={
            "smtpd_tls_ask_ccert": "yes",
            "smtpd_tls_received_header": "yes",
            "mynetworks": "192.0.2.0/24",
            "smtpd_relay_restrictions": "permit_tls_clientcerts, permit_tls_all_clientcerts, reject_unauth_destination",
            "relay_clientcerts": "inline:{ { AA:BB = other } }",
        }
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    path = relay.write_table("stranger.pem", (key + certificate).decode())
    context.load_cert_chain(path)
    with relay, relay.smtp() as client:
        client.starttls(context=context)
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="Relay access denied"):
            client.sendmail("a@example.org", ["x@far.test"], "Subject: no\n\n")
        # As any other client it may send mail to us.
        client.sendmail("a@example.org", ["alice@example.test"], "Subject: yes\n\n")
        relay.log.wait(r"to=<alice@example\.test>.*status=sent")
        assert "not verified" in relay.messages()[0].read_text()
