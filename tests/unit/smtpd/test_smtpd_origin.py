"""What XFORWARD changes in the envelope and the log."""

from tubepost.services.smtpd.origin import origin_of, origin_text
from tubepost.services.smtpd.restrictions.evaluation import Client

CLIENT = Client("192.0.2.1", "1234", name="c.example")


def test_without_xforward() -> None:
    origin = origin_of(CLIENT, "helo.example", "ESMTP", {})
    assert (origin.client_name, origin.client_port, origin.helo) == ("c.example", "1234", "helo.example")
    assert (origin.protocol, origin.log_ident) == ("ESMTP", "")
    assert origin_text(CLIENT, "", {}) == ""


def test_what_xforward_says_goes_before() -> None:
    said = {"NAME": "o.example", "IDENT": "4ABC", "PROTO": "SMTP"}
    origin = origin_of(CLIENT, "helo.example", "ESMTP", said)
    assert (origin.client_name, origin.client_address, origin.protocol) == ("o.example", "unknown", "SMTP")
    assert (origin.client_port, origin.helo, origin.log_ident) == ("unknown", "", "4ABC")
    assert origin_text(CLIENT, "", said) == ", orig_queue_id=4ABC, orig_client=o.example[unknown]"


def test_an_identity_alone_changes_nothing_of_the_client() -> None:
    origin = origin_of(CLIENT, "helo.example", "ESMTP", {"IDENT": "4ABC", "SOURCE": "local"})
    assert (origin.client_name, origin.client_address, origin.helo) == ("c.example", "192.0.2.1", "helo.example")
    assert (origin.protocol, origin.log_ident) == ("ESMTP", "4ABC")
