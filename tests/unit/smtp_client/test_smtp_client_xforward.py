"""XFORWARD tells the next system the queue id: the first one that the message had."""

from tubepost.common.wire.envelope import Origin

from tubepost.services.smtp import envelope


def test_our_queue_id_stands_in_where_nobody_named_the_message_before() -> None:
    origin = Origin(client_name="c.example", client_address="192.0.2.1")
    assert envelope.xforward_commands(origin, ("ADDR", "IDENT"), "Q1")[1] == "XFORWARD IDENT=Q1"
    named = origin.model_copy(update={"log_ident": "FIRST"})
    assert envelope.xforward_commands(named, ("ADDR", "IDENT"), "Q1")[1] == "XFORWARD IDENT=FIRST"
