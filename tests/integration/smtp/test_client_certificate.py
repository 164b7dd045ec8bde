"""A client that shows a certificate, to a server that lets it relay for it; both confined, keys read before."""

from tubepost.common.net import certificates, selfsigned

from tests.fakes.instance import Instance


def test_relaying_by_certificate() -> None:
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
    relay.set_main({"smtpd_tls_CAfile": str(relay.conf / "clients.pem")})
    sender = Instance(
        main={"relayhost": f"[127.0.0.1]:{relay.port}", "smtp_tls_security_level": "encrypt", "smtp_tls_loglevel": "1"}
    )
    path = sender.write_table("client.pem", (key + certificate).decode())
    path.chmod(0o600)
    sender.set_main({"smtp_tls_chain_files": str(path)})
    with relay, sender:
        sender.send("x@far.test")
        sender.log.wait(r"to=<x@far\.test>.*status=sent")
        relay.log.wait(r"Trusted: subject_CN=client\.example\.test, issuer=client\.example\.test, fingerprint=")
        relay.log.wait("Trusted TLS connection established from")
        # Without it there is no relaying.
        sender.set_main({"smtp_tls_chain_files": ""})
        sender.command("tubepost", "reload")
        start = len(sender.log.lines)
        sender.send("y@far.test")
        sender.log.wait(r"to=<y@far\.test>.*554 5\.7\.1", start=start)
