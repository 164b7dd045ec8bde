"""Wire models are equal when what they say is, and what is left out as a default comes back."""

from tubepost.common.wire.base import Done, Message
from tubepost.common.wire.envelope import Envelope, Origin, Recipient


class _Twin(Message):
    address: str
    original: str = ""
    orcpt: str = ""
    notify: tuple[str, ...] = ()


def test_equal_is_what_says_the_same() -> None:
    assert Origin(helo="a") == Origin(helo="a")
    assert Origin(helo="a") != Origin(helo="b")
    assert Done() == Done()
    assert Envelope(sender="s", arrival_time=1.0) == Envelope(sender="s", arrival_time=1.0, origin=Origin())
    assert Envelope(sender="s", arrival_time=1.0, origin=Origin(uid=3)) != Envelope(sender="s", arrival_time=1.0)


def test_another_kind_is_never_equal() -> None:
    assert Recipient(address="a") != _Twin(address="a")
    assert Recipient(address="a") != "a"


def test_equal_models_have_one_hash() -> None:
    assert len({Recipient(address="a"), Recipient(address="a", original=""), Recipient(address="b")}) == 2


def test_a_default_origin_is_left_out_and_any_other_is_not() -> None:
    plain = Envelope(sender="s", arrival_time=1.0)
    told = Envelope(sender="s", arrival_time=1.0, origin=Origin(helo="x"))
    assert "origin" not in plain.model_dump_json(exclude_defaults=True)
    for envelope in (plain, told):
        assert Envelope.model_validate_json(envelope.model_dump_json(exclude_defaults=True)) == envelope
