"""TLS and authentication of mail that leaves (the smtp program; for LMTP see lmtp.py)."""

from tubepost.common.sasl import options
from tubepost.common.config.declare import Boolean, Choice, Integer, List, Maps, Settings, Text, Time


class SmtpTls(Settings):
    smtp_tls_security_level = Choice(
        "",
        "TLS of servers: none, may (where it is offered), encrypt (always), verify and secure (with a certificate that "
        "an authority vouches for), fingerprint (with a certificate of known fingerprint).",
        choices=("", "none", "may", "encrypt", "verify", "secure", "fingerprint"),
    )
    smtp_tls_policy_maps = Maps(
        "",
        "Table of TLS levels by next hop, with match=, protocols=, ciphers=, exclude=, servername=, connection_reuse=.",
    )
    smtp_tls_wrappermode = Boolean("no", "TLS begins with the connection, without STARTTLS (port 465).")
    smtp_tls_protocols = Text(">=TLSv1.2", "TLS protocols where TLS is optional.")
    smtp_tls_mandatory_protocols = Text(">=TLSv1.2", "TLS protocols where TLS is required.")
    smtp_tls_ciphers = Choice("medium", "Least cipher grade where TLS is optional.", choices=("medium", "high"))
    smtp_tls_mandatory_ciphers = Choice(
        "medium", "Least cipher grade where TLS is required.", choices=("medium", "high")
    )
    smtp_tls_exclude_ciphers = List("", "Ciphers that are not used.")
    smtp_tls_mandatory_exclude_ciphers = List("", "The same, where TLS is required.")
    smtp_tls_CAfile = Text("", "File with the authorities that server certificates may come from.")
    smtp_tls_CApath = Text("", "Directory with such authorities, by hash.")
    smtp_tls_verify_cert_match = List("hostname", "Names that a certificate must have for the level verify.")
    smtp_tls_secure_cert_match = List("nexthop, dot-nexthop", "The same for the level secure.")
    smtp_tls_fingerprint_cert_match = List("", "Fingerprints that a certificate must have for the level fingerprint.")
    smtp_tls_fingerprint_digest = Text("sha256", "Digest of certificate fingerprints.", low=1)
    smtp_tls_servername = Text("", "Name sent as SNI: empty: none, hostname, nexthop, or a name.")
    smtp_tls_chain_files = List("", "Files with this client's private key, followed by its certificate chain.")
    smtp_tls_cert_file = Text("", "File with its RSA certificate chain, where smtp_tls_chain_files is empty.")
    smtp_tls_key_file = Text("$smtp_tls_cert_file", "File with its private key.")
    smtp_tls_loglevel = Integer("0", "1: log a summary of each handshake.", high=4)
    smtp_tls_note_starttls_offer = Boolean("no", "Log servers that offer STARTTLS while TLS is off.")
    smtp_tls_connection_reuse = Boolean("yes", "Reuse connections that have TLS as others are.")
    smtp_starttls_timeout = Time("300s", "Longest wait for the reply to STARTTLS, and for the handshake.", low=1)
    smtp_sasl_auth_enable = Boolean("no", "Authenticate to servers that have an entry in smtp_sasl_password_maps.")
    smtp_sasl_password_maps = Maps("", "Table of user:password by next hop, server name, or sender.")
    smtp_sender_dependent_authentication = Boolean("no", "Look up the sender first in smtp_sasl_password_maps.")
    smtp_sasl_mechanism_filter = List("", "Mechanisms that may be used; empty: all.")
    smtp_sasl_security_options = List(
        "noplaintext, noanonymous", "What mechanisms must withstand without TLS.", choices=options.CHOICES
    )
    smtp_sasl_tls_security_options = List(
        "noanonymous", "What mechanisms must withstand within TLS.", choices=options.CHOICES
    )
    smtp_sasl_tls_verified_security_options = List(
        "$smtp_sasl_tls_security_options",
        "What mechanisms must withstand within TLS whose server is verified.",
        choices=options.CHOICES,
    )
    smtp_sasl_auth_soft_bounce = Boolean("yes", "Defer mail when a server refuses our password, instead of bouncing.")
