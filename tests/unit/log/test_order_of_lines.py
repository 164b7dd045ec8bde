"""The log program puts the lines of many processes in the order in which they were said."""

from hypothesis import given
from hypothesis import strategies as st

from tubepost.services.log.session import Order


def line(place: int, text: str) -> bytes:
    return b"%016d %b\n" % (place, text.encode())


def test_a_line_that_was_said_first_is_written_first_though_it_came_later() -> None:
    order = Order()
    order.add(line(200, "from=") + line(300, "to="), 0)
    assert order.turn() == b""
    order.add(line(100, "client="), 0)
    assert order.turn() == b"client=\nfrom=\nto=\n"
    assert len(order) == 0


def test_what_was_said_later_waits_for_its_own_turn() -> None:
    order = Order()
    order.add(line(200, "b"), 0)
    order.turn()
    order.add(line(300, "c") + line(100, "a"), 0)
    assert order.turn() == b"a\nb\n"
    assert order.turn() == b"c\n"


def test_a_clock_that_is_set_back_holds_nothing_back() -> None:
    order = Order()
    order.add(line(9_000_000, "before"), 0)
    order.turn()
    order.add(line(1_000, "after"), 0)
    assert order.turn() == b"after\nbefore\n"


def test_a_stranger_s_line_has_the_time_of_its_arrival() -> None:
    order = Order()
    order.add(b"no place\n12345 short\n", 0.0002)
    order.add(line(100, "a") + line(300, "c"), 0)
    assert order.rest() == b"a\n12345 short\nno place\nc\n"


@given(st.lists(st.lists(st.tuples(st.integers(0, 50), st.text("xyz 1", min_size=1)), max_size=5), max_size=8))
def test_every_line_is_written_once(datagrams: list[list[tuple[int, str]]]) -> None:
    order = Order()
    written = b""
    for datagram in datagrams:
        order.add(b"".join(line(place, text) for place, text in datagram), 0)
        written += order.turn()
    written += order.rest()
    assert sorted(written.splitlines()) == sorted(text.encode() for datagram in datagrams for _, text in datagram)


def test_a_stranger_s_control_characters_are_replaced() -> None:
    order = Order()
    order.add(b"a\rb\x1b[2Jc\x00\td\x7f", 0)
    order.add("\x9b1m\u2028\u202e\u2066ä€ – ok".encode(), 1)
    assert order.rest() == b"a?b?[2Jc??d?\n" + "?1m???ä€ – ok\n".encode()


@given(st.binary(max_size=200))
def test_whatever_a_stranger_sends_is_lines_of_text(data: bytes) -> None:
    order = Order()
    order.add(data, 0)
    written = order.rest()
    assert not {*written} & {*range(10), *range(11, 32), 127}
    assert written.endswith(b"\n") or not written


def test_what_is_held_is_bounded_by_lines_and_by_bytes() -> None:
    order = Order()
    assert not order.is_full
    order.add(b"\n" * 60_000, 0)
    assert len(order) == 0
    for number in range(1000):
        order.add(line(number, "x" * 60_000), 0)
        if order.is_full:
            break
    assert order.is_full and len(order) < 200
    assert order.turn() == b"" and order.turn() and not order.is_full
    for number in range(10):
        order.add(b"x\n" * 30_000, number)
        if order.is_full:
            break
    assert order.is_full and len(order) <= 30_000
    order.rest()
    assert not order.is_full
