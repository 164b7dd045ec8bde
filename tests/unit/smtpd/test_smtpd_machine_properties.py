"""The fuzz harness's invariant on inputs that hypothesis makes of SMTP's own words."""

import importlib.util
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

_SPEC = importlib.util.spec_from_file_location(
    "fuzz_smtp_session", Path(__file__).parents[2] / "fuzz" / "fuzz_smtp_session.py"
)
assert _SPEC is not None and _SPEC.loader is not None
fuzz = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fuzz)

WORDS = st.sampled_from(fuzz.WORDS)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 255), st.lists(WORDS, max_size=25))
def test_whole_and_byte_by_byte(seed: int, words: list[bytes]) -> None:
    fuzz.check(seed & 127, b"".join(words))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 255), st.lists(WORDS, max_size=12))
def test_within_a_transaction(seed: int, words: list[bytes]) -> None:
    opening = b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
    fuzz.check(seed & 127, opening + b"DATA\r\n" + b"".join(words))
    fuzz.check(seed & 127, opening + b"".join(words))
