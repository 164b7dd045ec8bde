"""Runs a harness: under atheris (libFuzzer, guided by coverage), by plain mutation only where that cannot be installed.

    python -m tests.fuzz smtp_session -max_total_time=20

A harness is a module ``fuzz_NAME.py`` beside this one with a ``HARNESS``: its ``check`` raises when the invariant that
stands in the module's docstring is broken. The first byte of an input is for settings; when its highest bit is set, the
bytes behind it stand for whole words of the language under test, so that deep states are reached soon.

What every run holds to besides: one input may take ``seconds`` of processor time and a gigabyte of memory, whatever it
is; a quarter of the time goes to inputs of one word many times over, for what is not linear shows itself there. A
breaking input is printed and written to ``build/fuzz``; kept in ``cases/NAME/`` it is tried by every test run.
"""

import contextlib
import hashlib
import importlib
import platform
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
FINDS = HERE.parent.parent / "build" / "fuzz"
WORDS = 0x80
"""In the first byte: the bytes that follow stand for words."""
SETTINGS = 0x7F
LONGEST = 4096
"""Bytes of an input that the fuzzer makes up."""
SWOLLEN = 30_000
"""Bytes of an input of one word many times over."""
MEMORY = 1024
"""MiB."""
# As pyproject.toml has it among the requirements of the tests.
GUIDED = sys.version_info < (3, 14) and sys.platform == "linux" and platform.machine() == "x86_64"
"""atheris can be installed here; then nothing is fuzzed without it unless ``-plain`` is said."""


class Harness(NamedTuple):
    """``check(settings, data)``: settings are 7 bits. ``seeds``: inputs to begin with, each with its first byte."""

    check: Callable[[int, bytes], None]
    words: Sequence[bytes] = ()
    seeds: Sequence[bytes] = ()
    seconds: float = 4.0
    """Of processor time, for one input; code under coverage is some times slower than without."""
    swollen: int = SWOLLEN


class Slow(AssertionError):
    """An input took more than it may."""


def names() -> list[str]:
    """Of all harnesses."""
    return sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))


def load(name: str) -> Harness:
    harness = importlib.import_module(f"tests.fuzz.fuzz_{name}").HARNESS
    assert isinstance(harness, Harness)
    return harness


def cases(name: str) -> list[Path]:
    """Inputs that broke something once."""
    return sorted((HERE / "cases" / name).glob("*"))


def transcripts(pattern: str) -> list[bytes]:
    """What the clients of tests/transcripts say, as seeds."""
    found = []
    for path in sorted((HERE.parent / "transcripts").glob(pattern)):
        lines = [line[3:] for line in path.read_bytes().split(b"\n") if line.startswith(b"C: ")]
        found.append(b"\0" + b"\r\n".join(lines)[: LONGEST - 3] + b"\r\n")
    return found


def one_by_one(data: bytes) -> list[bytes]:
    """``data`` as it may come from a network: byte by byte, or in a thousand pieces where that is less."""
    step = 1 + len(data) // 1000
    return [data[place : place + step] for place in range(0, len(data), step)]


def spell(words: Sequence[bytes], data: bytes) -> bytes:
    return b"".join(words[byte] if byte < len(words) else bytes((byte,)) for byte in data)


def run_one(harness: Harness, data: bytes) -> None:
    """Raises whatever the harness does, and Slow."""
    if not data:
        return
    settings, rest = data[0], data[1:]
    started = time.process_time()
    harness.check(settings & SETTINGS, spell(harness.words, rest) if settings & WORDS else rest)
    took = time.process_time() - started
    if took > harness.seconds:
        raise Slow(f"{len(data)} bytes took {took:.1f} s")


def swell(harness: Harness, source: random.Random) -> bytes:
    """A word many times over, with something before and behind it."""
    words = harness.words or (b"a", b"(", b'"', b"\\", b",")
    head = b"".join(source.choices(words, k=source.randrange(3)))
    word = b"".join(source.choices(words, k=source.randrange(1, 3))) or b"x"
    tail = b"".join(source.choices(words, k=source.randrange(3)))
    return bytes((source.randrange(128),)) + head + word * (harness.swollen // len(word)) + tail


def mutate(harness: Harness, pool: Sequence[bytes], source: random.Random) -> bytes:
    """An input of words, or one of the pool with some damage done to it."""
    if harness.words and (not pool or source.random() < 0.5):
        return bytes((source.randrange(128),)) + b"".join(source.choices(harness.words, k=source.randrange(30)))
    data = bytearray(source.choice(pool) if pool else source.randbytes(source.randrange(200)))
    for _ in range(source.randrange(1, 6)):
        place = source.randrange(len(data) + 1)
        match source.randrange(5):
            case 0:
                data[place : place + source.randrange(8)] = source.randbytes(source.randrange(4))
            case 1:
                data[place:place] = source.choice(harness.words) if harness.words else b"\0"
            case 2:
                data[place : place + 1] = bytes((1 << source.randrange(8),))
            case 3:
                other = source.choice(pool) if pool else b""
                data[place:] = other[source.randrange(len(other) + 1) :]
            case 4:
                data[place:place] = data[place : place + source.randrange(40)]
    return bytes(data[:LONGEST])


def _keep(name: str, data: bytes) -> Path:
    FINDS.mkdir(parents=True, exist_ok=True)
    path = FINDS / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


@contextlib.contextmanager
def _reported(name: str, data: bytes) -> Iterator[None]:
    try:
        yield
    except BaseException:
        print(f"{name}: {_keep(name, data)}: broken by {data[:2000]!r}", file=sys.stderr, flush=True)
        raise


def _hangs(_signal: int, _frame: object) -> None:
    raise Slow("it does not end")


def grow(name: str, harness: Harness, seconds: float, source: random.Random) -> int:
    """Swollen inputs, until the time is over; how many."""
    deadline = time.monotonic() + seconds
    count = 0
    signal.signal(signal.SIGALRM, _hangs)
    while time.monotonic() < deadline:
        data = swell(harness, source)
        signal.alarm(60)
        with _reported(name, data):
            run_one(harness, data)
        signal.alarm(0)
        count += 1
    return count


def plain(name: str, harness: Harness, seconds: float, source: random.Random) -> int:
    """Without a guide: mutated inputs, until the time is over; how many."""
    pool = [*harness.seeds, *(path.read_bytes() for path in cases(name))]
    count = 0
    signal.signal(signal.SIGALRM, _hangs)
    for data in pool:
        with _reported(name, data):
            run_one(harness, data)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        data = mutate(harness, pool, source)
        signal.alarm(60)
        with _reported(name, data):
            run_one(harness, data)
        signal.alarm(0)
        count += 1
    return count


def _option(arguments: Sequence[str], name: str, default: float) -> float:
    for word in arguments:
        if word.startswith(f"-{name}="):
            return float(word.partition("=")[2])
    return default


def main(arguments: Sequence[str]) -> None:
    """``NAME``, then ``-max_total_time=SECONDS``, ``-seed=N``, ``-plain``; others go to libFuzzer. None: the names."""
    if not arguments:
        print("\n".join(names()))
        return
    name, options = arguments[0], list(arguments[1:])
    seconds = _option(options, "max_total_time", 20)
    seed = int(_option(options, "seed", time.time_ns() % 1_000_000_000))
    source = random.Random(seed)
    fuzzer: Any = None
    # The other way can be asked for. It never comes by itself where there could be a guide.
    if "-plain" not in options:
        try:
            fuzzer = importlib.import_module("atheris")
        except ImportError:
            if GUIDED:
                raise SystemExit("atheris is not installed: install it, or say -plain") from None
    with fuzzer.instrument_imports(include=["tubepost"]) if fuzzer else contextlib.nullcontext():
        harness = load(name)
    print(f"{name}: {'atheris' if fuzzer else 'plain mutation'}, {seconds:.0f} s, -seed={seed}", flush=True)
    swollen = grow(name, harness, seconds / 4, source)
    if fuzzer is None:
        resource.setrlimit(resource.RLIMIT_AS, (2 * MEMORY << 20, -1))
        print(
            f"{name}: {swollen} swollen inputs, {plain(name, harness, seconds * 3 / 4, source)} others, none breaks it"
        )
        return
    print(f"{name}: {swollen} swollen inputs, none breaks it", flush=True)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as corpus:
        for number, data in enumerate([*harness.seeds, *(path.read_bytes() for path in cases(name))]):
            Path(corpus, f"seed{number}").write_bytes(data)
        FINDS.mkdir(parents=True, exist_ok=True)
        kept = [word for word in options if not word.startswith(("-max_total_time=", "-seed="))]
        command = [
            sys.argv[0],
            f"-max_total_time={max(1, int(seconds * 3 / 4))}",
            f"-seed={seed}",
            f"-max_len={LONGEST}",
            "-timeout=30",
            f"-rss_limit_mb={MEMORY}",
            f"-artifact_prefix={FINDS}/{name}-",
            "-verbosity=0",
            "-print_final_stats=1",
            *kept,
            corpus,
        ]

        def one(data: bytes) -> None:
            data = bytes(data)
            with _reported(name, data):
                run_one(harness, data)

        fuzzer.Setup(command, one)
        # It leaves by exit, with the status that tells how it went: nothing behind this line is reached.
        fuzzer.Fuzz()
