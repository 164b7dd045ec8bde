"""Who makes way, who gets a slot, who is turned away, when all slots are taken."""

import socket
from collections import Counter

from tubepost.common.skeleton import crowd


class Guest:
    def __init__(self, address: str, idle: "tuple[int, float] | None") -> None:
        self.address = address
        self.idle = idle

    def make_way(self) -> None: ...


def test_nobody_makes_way_who_works_or_is_silent_for_a_moment_only() -> None:
    guests = [Guest("192.0.2.1", None), Guest("192.0.2.2", (0, 9.5))]
    assert crowd.pick_victim(guests, 10.0, 1.0) is None
    assert crowd.pick_victim(guests, 10.5, 1.0) is guests[1]
    assert crowd.pick_victim([], 10.0, 0.0) is None


def test_the_longest_silent_makes_way_first() -> None:
    guests = [Guest("192.0.2.1", (0, 5.0)), Guest("192.0.2.2", (0, 3.0)), Guest("192.0.2.3", (0, 4.0))]
    assert crowd.pick_victim(guests, 10.0, 1.0) is guests[1]


def test_who_has_sent_mail_stays_longer_than_who_has_proven_nothing() -> None:
    guests = [Guest("192.0.2.1", (1, 1.0)), Guest("192.0.2.2", (0, 8.0))]
    assert crowd.pick_victim(guests, 10.0, 1.0) is guests[1]
    assert crowd.pick_victim(guests[:1], 10.0, 1.0) is guests[0]


def test_the_address_with_the_most_sessions_gives_one_up_first() -> None:
    lonely = Guest("192.0.2.1", (0, 1.0))
    many = [Guest("192.0.2.2", (0, 2.0 + number)) for number in range(3)]
    assert crowd.pick_victim([lonely, *many], 10.0, 1.0) is many[0]
    neighbours = [Guest("2001:db8:1:2::1", (0, 2.0)), Guest("2001:db8:1:2:3::9", (0, 3.0))]
    assert crowd.pick_victim([lonely, *neighbours], 10.0, 1.0) is neighbours[0], "a /64 is one client"


def test_who_has_less_than_its_share_is_given_the_whole_grace() -> None:
    """A client that is far away, among connections of others that are hurried."""
    far = Guest("192.0.2.1", (0, 9.5))
    many = [Guest("192.0.2.2", (0, 9.9)), Guest("192.0.2.2", (0, 9.9))]
    assert crowd.pick_victim([far, *many], 10.0, 1.0, 0.2) is None
    assert crowd.pick_victim([far, *many], 10.2, 1.0, 0.2) is many[0]
    assert crowd.pick_victim([far, Guest("192.0.2.2", None)], 10.0, 1.0, 0.2) is far, "where all have one, all hurry"
    assert crowd.pick_victim(many, 10.2, 1.0, 0.2) is many[0], "a crowd alone has no more than its share"


def test_slots_change_hands_a_few_at_a_time_and_once_in_the_time_of_grace() -> None:
    pace = crowd.Pace(100)
    assert sum(pace.take(10.0, 1.0) for _ in range(100)) == 10
    assert sum(pace.take(10.0625, 1.0) for _ in range(100)) == 6
    assert sum(pace.take(20.0, 1.0) for _ in range(100)) == 10
    lonely = crowd.Pace(1)
    assert sum(lonely.take(10.0, 1.0) for _ in range(5)) == 1, "also where a tenth is less than one"
    assert all(crowd.Pace(1).take(10.0, 0.0) for _ in range(5)), "no grace, no pace"


def test_the_fuller_the_room_the_less_grace() -> None:
    assert [round(crowd.grace_of(1.0, waiting, 10), 2) for waiting in (0, 5, 10, 20)] == [1.0, 0.6, 0.2, 0.2]


def waiting(address: str, came: float = 0.0) -> crowd.Waiting:
    ours, theirs = socket.socketpair()
    theirs.close()
    return crowd.Waiting(ours, address, came, lambda: None)


def test_a_slot_goes_to_the_address_that_has_the_fewest() -> None:
    room = crowd.Room(10)
    first, second, third = (waiting(address) for address in ("192.0.2.1", "192.0.2.2", "192.0.2.2"))
    for one in (first, second, third):
        assert room.enter(one) is None
    held = Counter({"192.0.2.1": 5})
    assert [room.next(held), room.next(held), room.next(held), room.next(held)] == [second, third, first, None]
    for one in (first, second, third):
        one.connection.close()


def test_of_equals_the_first_who_came_gets_it() -> None:
    room = crowd.Room(10)
    everybody = [waiting(f"192.0.2.{number}") for number in range(3)]
    for one in everybody:
        room.enter(one)
    assert [room.next(Counter()) for _ in range(3)] == everybody
    for one in everybody:
        one.connection.close()


def test_a_full_room_turns_away_the_last_of_the_address_with_the_most() -> None:
    room = crowd.Room(3)
    flood = [waiting("192.0.2.1", float(number)) for number in range(4)]
    for one in flood[:3]:
        assert room.enter(one) is None
    assert room.enter(flood[3]) is flood[3], "the newcomer is one of them"
    other = waiting("192.0.2.9")
    assert room.enter(other) is flood[2]
    assert len(room) == 3
    assert room.all() == [flood[0], flood[1], other]
    assert not room
    for one in (*flood, other):
        one.connection.close()


def test_who_waits_too_long_is_found() -> None:
    room = crowd.Room(3)
    old, new = waiting("192.0.2.1", 1.0), waiting("192.0.2.2", 5.0)
    room.enter(old)
    room.enter(new)
    assert room.late(0.5) == []
    assert room.late(1.0) == [old]
    assert len(room) == 1
    for one in (old, new):
        one.connection.close()


def test_who_is_turned_away_hears_why_although_it_has_spoken() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    connection, _ = listener.accept()
    client.sendall(b"EHLO too.early\r\n")
    client.settimeout(5)
    crowd.turn_away(connection, b"421 4.3.2 come again\r\n")
    assert client.recv(100) == b"421 4.3.2 come again\r\n"
    assert client.recv(100) == b""
    client.close()
    listener.close()


def test_a_client_that_is_gone_is_turned_away_without_a_sound() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    crowd.turn_away(ours, b"421\r\n")
    assert ours.fileno() == -1
