"""The two forms of a queue listing (Postfix manual: postqueue(1), mailq in sendmail(1)). Pure."""

import json
import re
import time
from collections.abc import Iterator

from tubepost.common.wire.showq import Entry, Waiting

# Column widths: Postfix's for long queue ids, and for short ones (enable_long_queue_ids = no).
_LONG = ("%-17s %8s %-19s %s", "%-17s %8d %19.19s %s")
_SHORT = ("%-11s %7s %-20s %s", "%-11s %7d %20.20s %s")
_LONG_TITLES = ("----Queue ID-----", "--Size--", "---Arrival Time----", "--Sender/Recipient------")
_SHORT_TITLES = ("-Queue ID-", "--Size--", "----Arrival Time----", "-Sender/Recipient-------")
_MARKS = {"active": "*", "hold": "!"}
_REASON_COLUMN = 76
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def _printable(text: str) -> str:
    return text if text.isprintable() else _UNPRINTABLE.sub("?", text)


class Table:
    """mailq's form. ``lines`` of each entry, then ``end``; a message's recipients may come in several entries."""

    def __init__(self, *, long_ids: bool) -> None:
        self._text, self._first = _LONG if long_ids else _SHORT
        self._titles = _LONG_TITLES if long_ids else _SHORT_TITLES
        self._count = 0
        self._size = 0
        self._reason = ""

    def lines(self, entry: Entry) -> Iterator[str]:
        """Without line ends."""
        if not entry.continued:
            yield self._text % self._titles if self._count == 0 else ""
            self._count += 1
            self._size += entry.message_size
            self._reason = ""
            mark = _MARKS.get(entry.queue_name, "") + ("#" if entry.forced_expire else "")
            when = time.asctime(time.localtime(entry.arrival_time))
            yield self._first % (entry.queue_id + mark, entry.message_size, when, _printable(entry.sender))
        for waiting in entry.recipients:
            reason = waiting.delay_reason or waiting.bounce_reason
            if reason != self._reason:
                self._reason = reason
                yield f"({_printable(reason) or 'reason unavailable'})".rjust(_REASON_COLUMN + 2)
            yield self._text % ("", "", "", _printable(waiting.address))

    def end(self) -> Iterator[str]:
        if not self._count:
            yield "Mail queue is empty"
            return
        yield ""
        yield f"-- {self._size // 1024} Kbytes in {self._count} Request{'' if self._count == 1 else 's'}."


class Json:
    """One object a line and message. A line goes out in pieces, so that no message is too large to be shown."""

    def __init__(self, *, utf8: bool = True) -> None:
        self._ascii = not utf8
        self._open = False
        self._any = False

    def pieces(self, entry: Entry) -> Iterator[str]:
        """Text, with line ends where they belong."""
        if not entry.continued:
            yield from self.end()
            head = {
                "queue_name": entry.queue_name,
                "queue_id": entry.queue_id,
                "arrival_time": int(entry.arrival_time),
                "message_size": entry.message_size,
                "forced_expire": entry.forced_expire,
                "sender": _printable(entry.sender),
            }
            yield self._dump(head)[:-1] + ', "recipients": ['
            self._open, self._any = True, False
        for waiting in entry.recipients:
            yield (", " if self._any else "") + self._dump(self._recipient(waiting))
            self._any = True

    def _recipient(self, waiting: Waiting) -> dict[str, str]:
        found = {"orig_address": _printable(waiting.orig_address), "address": _printable(waiting.address)}
        if waiting.delay_reason:
            found["delay_reason"] = _printable(waiting.delay_reason)
        if waiting.bounce_reason:
            found["bounce_reason"] = _printable(waiting.bounce_reason)
        return found

    def _dump(self, value: dict[str, object] | dict[str, str]) -> str:
        return json.dumps(value, ensure_ascii=self._ascii)

    def end(self) -> Iterator[str]:
        """Close the line of the last message."""
        if self._open:
            self._open = False
            yield "]}\n"
