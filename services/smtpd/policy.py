"""The client of policy services (Postfix: SMTPD_POLICY_README): attributes out, an action back, on a kept connection.

A server is named ``inet:host:port`` or ``unix:path``, or with settings of its own:
``{ inet:host:port, timeout=10s, default_action=DUNNO }``.
"""

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tubepost.common.system import log
from tubepost.common.tables.words import SyntaxFault, inside_braces, split_list

_ANSWER_LIMIT = 64 * 1024
_IDLE_LIMIT = 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TIME = re.compile(r"([0-9]{1,9})([smhdw]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class Manner:
    """smtpd_policy_service_* as set; times in seconds."""

    default_action: str = "451 4.3.5 Server configuration problem"
    timeout: float = 100.0
    max_idle: float = 300.0
    max_ttl: float = 1000.0
    request_limit: int = 0
    try_limit: int = 2
    retry_delay: float = 1.0
    policy_context: str = ""


def parse_server(text: str, manner: Manner) -> tuple[str, Manner]:
    """(endpoint, its manner). Raises ValueError."""
    if not text.startswith("{"):
        return text, manner
    try:
        endpoint, *words = split_list(inside_braces(text))
        settings = list(_settings(words))
    except SyntaxFault as fault:
        raise ValueError(str(fault)) from fault
    except ValueError:
        raise ValueError("no server is named") from None
    changes: dict[str, str | float | int] = {}
    for name, value in settings:
        if name in ("default_action", "policy_context"):
            changes[name] = value
        elif name in ("timeout", "max_idle", "max_ttl", "retry_delay"):
            found = _TIME.fullmatch(value)
            if found is None:
                raise ValueError(f"{name}: not a time: {value}")
            changes[name] = float(int(found.group(1)) * _UNITS[found.group(2)])
        elif name in ("try_limit", "request_limit") and value.isdecimal():
            changes[name] = int(value)
        else:
            raise ValueError(f"bad policy service setting: {name}={value}")
    return endpoint, replace(manner, **changes)  # type: ignore[arg-type]


def _settings(words: list[str]) -> Iterator[tuple[str, str]]:
    """``name=value`` and ``{ name = value with spaces }``; words without "=" belong to the value before them."""
    pieces: list[str] = []
    for word in words:
        if word.startswith("{"):
            pieces.append(inside_braces(word))
        elif "=" in word or not pieces:
            pieces.append(word)
        else:
            pieces[-1] += f" {word}"
    for piece in pieces:
        name, _, value = (part.strip() for part in piece.partition("="))
        yield name, value


def encode(attributes: Mapping[str, str]) -> bytes:
    """``name=value`` lines and an empty one."""
    lines = [f"{name}={_CONTROL.sub('?', value)}\n" for name, value in attributes.items()]
    return "".join([*lines, "\n"]).encode("utf-8", "replace")


def parse_answer(data: bytes) -> str:
    """The action of an answer. Raises ValueError."""
    for line in data.decode("utf-8").split("\n"):
        name, equals, value = line.partition("=")
        if name == "action" and equals:
            return value.strip()
    raise ValueError("the answer has no action")


class _Connection:
    __slots__ = ("last", "reader", "since", "used", "writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.since = self.last = time.monotonic()
        self.used = 0


class PolicyClient:
    """One server. Several sessions ask at once, each over a connection of its own while it asks."""

    def __init__(self, endpoint: str, manner: Manner) -> None:
        kind, _, where = endpoint.partition(":")
        if kind not in ("inet", "unix") or not where:
            raise ValueError(f"bad policy server: {endpoint}: write inet:host:port or unix:path")
        self._endpoint = endpoint
        self._unix = where if kind == "unix" else ""
        host, _, port = where.rpartition(":")
        self._host = (host or "localhost").strip("[]")
        self._port = port
        self.manner = manner
        self._idle: list[_Connection] = []

    async def ask(self, attributes: Mapping[str, str]) -> str | None:
        """The action, or None when the server does not answer, which is logged."""
        manner = self.manner
        request = encode({**attributes, "policy_context": manner.policy_context})
        for attempt in range(manner.try_limit):
            connection = None
            try:
                async with asyncio.timeout(manner.timeout):
                    connection = self._take() or await self._open()
                    connection.writer.write(request)
                    await connection.writer.drain()
                    answer = parse_answer(await connection.reader.readuntil(b"\n\n"))
                self._give_back(connection)
                return answer
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
                fresh = connection is None or connection.used == 0
                if connection is not None:
                    connection.writer.close()
                # A kept connection that the server has closed meanwhile is no trouble: the next one is new.
                if fresh or attempt + 1 == manner.try_limit:
                    what = "no answer in time" if isinstance(error, TimeoutError) else str(error)
                    log.warning(f"problem talking to server {self._endpoint}: {what}")
                if fresh and attempt + 1 < manner.try_limit:
                    await asyncio.sleep(manner.retry_delay)
            except BaseException:
                if connection is not None:
                    connection.writer.close()
                raise
        return None

    def _take(self) -> _Connection | None:
        now = time.monotonic()
        while self._idle:
            connection = self._idle.pop()
            fresh = now - connection.last < self.manner.max_idle and now - connection.since < self.manner.max_ttl
            if fresh and not connection.reader.at_eof():
                return connection
            connection.writer.close()
        return None

    async def _open(self) -> _Connection:
        if self._unix:
            reader, writer = await asyncio.open_unix_connection(self._unix, limit=_ANSWER_LIMIT)
        else:
            reader, writer = await asyncio.open_connection(self._host, int(self._port), limit=_ANSWER_LIMIT)
        return _Connection(reader, writer)

    def _give_back(self, connection: _Connection) -> None:
        connection.used += 1
        connection.last = time.monotonic()
        limit = self.manner.request_limit
        if len(self._idle) >= _IDLE_LIMIT or (limit and connection.used >= limit):
            connection.writer.close()
        else:
            self._idle.append(connection)

    def close(self) -> None:
        for connection in self._idle:
            connection.writer.close()
        self._idle.clear()
