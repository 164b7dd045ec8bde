"""Words of main.cf about TLS."""

import ssl

import pytest

from tubepost.common.config import Config
from tubepost.common.net import tls


@pytest.mark.parametrize(
    ("text", "low", "high", "count"),
    [
        (">=TLSv1.2", "TLSv1.2", "TLSv1.3", 2),
        ("!SSLv2, !SSLv3, !TLSv1, !TLSv1.1", "TLSv1.2", "TLSv1.3", 2),
        ("TLSv1.3", "TLSv1.3", "TLSv1.3", 1),
        (">= tlsv1.1 <=0x0303", "TLSv1.1", "TLSv1.2", 2),
        ("", "TLSv1", "TLSv1.3", 4),
        ("!TLSv1.2", "TLSv1", "TLSv1.3", 3),
        ("TLSv1.0", "TLSv1", "TLSv1", 1),
    ],
)
def test_protocols(text: str, low: str, high: str, count: int) -> None:
    allowed, lowest, highest = tls.parse_protocols(text)
    assert (lowest, highest, len(allowed)) == (low, high, count)


@pytest.mark.parametrize("text", ["TLSv9", ">=foo", "!TLSv1 !TLSv1.1 !TLSv1.2 !TLSv1.3", "<=TLSv1.1 >=TLSv1.2"])
def test_protocols_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="TLS"):
        tls.parse_protocols(text)


def test_limits_of_a_context() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.limit(context, "!TLSv1.2", "HIGH:!aNULL")
    assert context.options & ssl.OP_NO_TLSv1_2
    assert context.minimum_version == ssl.TLSVersion.TLSv1
    with pytest.raises(ValueError, match="no cipher"):
        tls.limit(context, ">=TLSv1.2", "NOSUCHCIPHER")


def test_followers_have_smtpd_s_values_until_told_otherwise() -> None:
    config = Config(texts={"smtpd_tls_security_level": "may", "smtpd_tls_wrappermode": "yes"})
    assert tls.server_settings(config, "imapd").level == "may"
    assert not tls.server_settings(config, "imapd").wrapper
    own = Config(texts={"smtpd_tls_security_level": "may"}, overrides={"imapd_tls_wrappermode": "yes"})
    assert tls.server_settings(own, "imapd").wrapper
    assert tls.server_certificates(Config(), "pop3d") is None
    # Port 465 needs no second parameter.
    assert tls.server_settings(Config(texts={"smtpd_tls_wrappermode": "yes"}), "smtpd").level == "encrypt"


def test_excluded_ciphers() -> None:
    config = Config()
    assert tls.cipher_list(config, "high", ["RC4", "!MD5"]).endswith(":!aNULL:!RC4:!MD5")
