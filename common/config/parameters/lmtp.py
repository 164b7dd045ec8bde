"""Sending mail over LMTP (the smtp program under the name lmtp): the twin of nearly every ``smtp_`` parameter."""

import copy

from tubepost.common.config.declare import AnyParameter, declarations
from tubepost.common.config.parameters.smtp import Smtp

_SMTP_ONLY = frozenset({"smtp_always_send_ehlo", "smtp_never_send_ehlo"})
_RENAMED = {
    "smtp_helo_name": "lmtp_lhlo_name",
    "smtp_helo_timeout": "lmtp_lhlo_timeout",
    "smtp_discard_ehlo_keywords": "lmtp_discard_lhlo_keywords",
    "smtp_discard_ehlo_keyword_address_maps": "lmtp_discard_lhlo_keyword_address_maps",
}
_DEFAULTS = {
    "smtp_tcp_port": "24",
    "smtp_connect_timeout": "0s",
    "smtp_skip_quit_response": "no",
    "smtp_tls_secure_cert_match": "nexthop",
}

TWINS: dict[str, str] = {}
"""lmtp_ name to smtp_ name."""

# The smtp_ parameters that a default refers to are the lmtp_ ones here.
_OWN_DEFAULTS = frozenset({"smtp_tls_key_file", "smtp_sasl_tls_verified_security_options"})

LMTP: dict[str, AnyParameter] = {}
"""Read through ``Config.as_lmtp()``, under the smtp_ names."""

for _parameter in declarations(Smtp):
    if not _parameter.name.startswith("smtp_") or _parameter.name in _SMTP_ONLY:
        continue
    _name = _RENAMED.get(_parameter.name, "lmtp_" + _parameter.name.removeprefix("smtp_"))
    _twin = copy.copy(_parameter)
    _twin.name, _twin.attribute = _name, ""
    _twin.default = _DEFAULTS.get(_parameter.name, _parameter.default)
    if _parameter.name in _OWN_DEFAULTS:
        _twin.default = _parameter.default.replace("$smtp_", "$lmtp_")
    _twin.doc = f"As {_parameter.name}, for LMTP."
    TWINS[_name] = _parameter.name
    LMTP[_name] = _twin
