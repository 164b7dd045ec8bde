"""What smtpd says of a refusal fits a reply line, whatever stands in it."""

from hypothesis import given
from hypothesis import strategies as st

from tubepost.services.smtpd.events import Content
from tubepost.services.smtpd.ledger import Ledger
from tubepost.services.smtpd.protocol import Machine
from tubepost.services.smtpd.settings import Settings


@given(st.text(alphabet="ab é€ \n\r\x00\x7f", max_size=1500))
def test_a_refusal_is_one_line_of_at_most_512_octets(text: str) -> None:
    ledger = Ledger(Settings(myhostname="mx.example"), "c[192.0.2.1]")
    ledger.reply(f"550 5.7.1 {text}")
    wire = ledger.take_output()
    line, end, rest = wire.partition(b"\r\n")
    # RFC 5321 4.5.3.1.5
    assert len(line) <= 510
    assert (end, rest) == (b"\r\n", b"")
    assert line.startswith(b"550 5.7.1 ")
    assert not set(line) & {0, 10, 13, 127}
    line.decode()


def test_a_footer_stands_on_its_own_lines_or_on_the_refusal_s() -> None:
    ledger = Ledger(Settings(myhostname="mx.example"), "c[192.0.2.1]")
    for footer, wire in (
        (("", ["call us", "or not"]), b"550-5.7.1 no\r\n550-5.7.1 call us\r\n550 5.7.1 or not\r\n"),
        ((", call us", []), b"550 5.7.1 no, call us\r\n"),
        ((", call us", ["or not"]), b"550-5.7.1 no, call us\r\n550 5.7.1 or not\r\n"),
        (("", []), b"550 5.7.1 no\r\n"),
    ):
        ledger.footer = lambda _reply, footer=footer: footer
        ledger.reply("550 5.7.1 no")
        assert ledger.take_output() == wire


def test_a_transcript_does_not_grow_with_the_session() -> None:
    """HELP and BDAT are no mistakes, and may come for days."""
    settings = Settings(myhostname="mx.example", history_flush_threshold=100)
    machine = Machine(settings, "c[192.0.2.1]")
    machine.greet()
    for line in (
        *(b"EHLO c", b"MAIL FROM:<a@b.example>", b"NONSENSE", b"RCPT TO:<c@d.example>"),
        *[b"BDAT 1\r\nx"] * 200,
        *[b"HELP"] * 200,
    ):
        machine.receive(line + (b"" if line.startswith(b"BDAT") else b"\r\n"))
        while (event := machine.next_event()) is not None:
            if not isinstance(event, Content):
                machine.accept()
        assert len(machine.history) <= 100 + 20
    # What went wrong within is told once, with what came before it.
    assert [troubles for troubles, _ in machine.notices] == [{"protocol"}]
    assert "In:  NONSENSE" in machine.notices[0][1]
