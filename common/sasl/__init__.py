"""SASL (RFC 4422): the mechanisms as machines, a server's and a client's beside each other. Pure.

A server's machine never looks anything up. It is fed what the client says and returns a *step*: a challenge to send, a
question that its driver must have answered (``steps``), or the end. ``mechanisms`` has them by name.
"""

from tubepost.common.sasl.mechanisms import CLIENTS, PLAINTEXT, SERVERS, ServerSettings, make_server
from tubepost.common.sasl.steps import (
    Accepted,
    Challenge,
    NeedKeys,
    Rejected,
    Step,
    VerifyExternal,
    VerifyPassword,
    VerifyToken,
)

__all__ = [
    "CLIENTS",
    "PLAINTEXT",
    "SERVERS",
    "Accepted",
    "Challenge",
    "NeedKeys",
    "Rejected",
    "ServerSettings",
    "Step",
    "VerifyExternal",
    "VerifyPassword",
    "VerifyToken",
    "make_server",
]
