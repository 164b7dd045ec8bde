"""TLS: of the servers (smtpd; imapd, pop3d and lmtpd follow it), and what is common to servers and clients."""

import copy

from tubepost.common.config.declare import (
    AnyParameter,
    Boolean,
    Choice,
    Integer,
    List,
    Maps,
    Settings,
    Text,
    Time,
    declarations,
)


class Tls(Settings):
    tls_high_cipherlist = Text("aNULL:-aNULL:HIGH:@STRENGTH", "OpenSSL's list for the cipher grade high.", low=1)
    tls_medium_cipherlist = Text(
        "aNULL:-aNULL:HIGH:MEDIUM:+RC4:@STRENGTH", "OpenSSL's list for the cipher grade medium.", low=1
    )
    tls_preempt_cipherlist = Boolean("no", "Choose the cipher by the server's preference, not by the client's.")
    tls_append_default_CA = Boolean(
        "no", "Trust the authorities of this system beside those of the CAfile and CApath parameters."
    )
    tls_wildcard_matches_multiple_labels = Boolean(
        "yes", 'The "*" of a server\'s certificate may stand for several labels of its name.'
    )
    tls_server_sni_maps = Maps(
        "",
        "Table of key and certificates by the name that a client asks for (SNI), of all servers; postmap -F builds it.",
    )
    smtpd_tls_security_level = Choice(
        "", "TLS of clients: none, may (offered), encrypt (required).", choices=("", "none", "may", "encrypt")
    )
    smtpd_tls_wrappermode = Boolean("no", "TLS begins with the connection, without STARTTLS (port 465).")
    smtpd_tls_auth_only = Boolean("no", "Offer AUTH only within TLS.")
    smtpd_tls_chain_files = List("", "Files with a private key, each key followed by its certificate chain.")
    smtpd_tls_cert_file = Text("", "File with the RSA certificate chain, where smtpd_tls_chain_files is empty.")
    smtpd_tls_key_file = Text("$smtpd_tls_cert_file", "File with its private key.")
    smtpd_tls_eccert_file = Text("", "File with the ECDSA certificate chain.")
    smtpd_tls_eckey_file = Text("$smtpd_tls_eccert_file", "File with its private key.")
    smtpd_tls_protocols = Text(">=TLSv1.2", "TLS protocols where TLS is optional.")
    smtpd_tls_mandatory_protocols = Text(">=TLSv1.2", "TLS protocols where TLS is required.")
    smtpd_tls_ciphers = Choice("medium", "Least cipher grade where TLS is optional.", choices=("medium", "high"))
    smtpd_tls_mandatory_ciphers = Choice(
        "medium", "Least cipher grade where TLS is required.", choices=("medium", "high")
    )
    smtpd_tls_exclude_ciphers = List("", "Ciphers that are not used.")
    smtpd_tls_mandatory_exclude_ciphers = List("", "The same, where TLS is required.")
    smtpd_tls_ask_ccert = Boolean("no", "Ask clients for a certificate, of whatever authority.")
    smtpd_tls_req_ccert = Boolean("no", "Require one of a known authority, where TLS is required.")
    smtpd_tls_CAfile = Text("", "File with the authorities that client certificates may come from.")
    smtpd_tls_CApath = Text("", "Directory with such authorities, by hash.")
    smtpd_tls_fingerprint_digest = Text("sha256", "Digest of certificate fingerprints.", low=1)
    smtpd_tls_loglevel = Integer("0", "1: log a summary of each handshake.", high=4)
    smtpd_starttls_timeout = Time("${stress?{10}:{300}}s", "Longest wait for the handshake.", low=1)
    smtpd_tls_received_header = Boolean("no", "Tell protocol and cipher in the Received: header.")
    relay_clientcerts = Maps("", "Table of fingerprints of client certificates, for permit_tls_clientcerts.")


PREFIXES = ("imapd", "pop3d", "lmtpd")
"""Servers that have the parameters of ``_SHARED`` too, with smtpd's values unless told otherwise."""

_SHARED = frozenset(
    {
        "smtpd_tls_security_level",
        "smtpd_tls_wrappermode",
        "smtpd_tls_chain_files",
        "smtpd_tls_cert_file",
        "smtpd_tls_key_file",
        "smtpd_tls_eccert_file",
        "smtpd_tls_eckey_file",
        "smtpd_tls_protocols",
        "smtpd_tls_mandatory_protocols",
        "smtpd_tls_ciphers",
        "smtpd_tls_mandatory_ciphers",
        "smtpd_tls_exclude_ciphers",
        "smtpd_tls_mandatory_exclude_ciphers",
        "smtpd_tls_ask_ccert",
        "smtpd_tls_req_ccert",
        "smtpd_tls_CAfile",
        "smtpd_tls_CApath",
        "smtpd_tls_fingerprint_digest",
        "smtpd_tls_loglevel",
        "smtpd_starttls_timeout",
    }
)

FOLLOWERS: dict[str, AnyParameter] = {}
"""Their parameters by name, read through ``Config.get``."""

for _prefix in PREFIXES:
    for _parameter in declarations(Tls):
        if _parameter.name not in _SHARED:
            continue
        _twin = copy.copy(_parameter)
        _twin.name, _twin.attribute = _parameter.name.replace("smtpd", _prefix, 1), ""
        _twin.postfix = False
        _twin.doc = f"As {_parameter.name}, for {_prefix}."
        # What a port is for is said in master.cf; the rest follows the one server that everybody sets up.
        _twin.default = "no" if _parameter.name == "smtpd_tls_wrappermode" else f"${_parameter.name}"
        FOLLOWERS[_twin.name] = _twin
