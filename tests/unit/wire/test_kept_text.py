"""What a caller may have its callee remember is bounded by the message itself."""

import pytest
from pydantic import ValidationError

from tubepost.common.wire.auth import Begin
from tubepost.common.wire.notify import Changed


@pytest.mark.parametrize("place", ["mailbox", "folder"])
def test_a_hint_is_as_long_as_a_path_may_be(place: str) -> None:
    words = {"mailbox": "/mail/alice", "folder": "INBOX"}
    assert getattr(Changed(**{**words, place: "x" * 4096}), place) == "x" * 4096
    with pytest.raises(ValidationError):
        Changed(**{**words, place: "x" * 4097})


@pytest.mark.parametrize("place", ["service", "client", "client_name", "local"])
def test_who_begins_an_authentication_has_a_name_of_bounded_length(place: str) -> None:
    words = {"exchange": 1, "scope": "imap", "service": "imap", "mechanism": "PLAIN", "client": "::1", "tls": True}
    with pytest.raises(ValidationError):
        Begin.model_validate({**words, place: "x" * 4097})
