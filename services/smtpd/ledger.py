"""The accounts of a session: replies and their delay, errors, counters, the transcript, and log lines. Pure."""

import re
from collections import deque
from collections.abc import Callable

from tubepost.services.smtpd.events import Event, Hangup, Pause, Rcpt
from tubepost.services.smtpd.settings import Settings
from tubepost.services.smtpd.tables import CONNECT, UNKNOWN, VERBS, State

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_ENHANCED = re.compile(r"[45]\.\d+\.\d+")
# RFC 5321 4.5.3.1.5: 512 with CR LF.
_REPLY_LIMIT = 510

# The order of the disconnect line, and what stands before each count in it.
_PLACES = {verb: place for place, verb in enumerate((*VERBS, UNKNOWN))}
_SHOWN = {verb: f" {verb.lower()}=" for verb in _PLACES}


def _place(item: tuple[str, list[int]]) -> int:
    return _PLACES[item[0]]


class Ledger:
    """What ``protocol.Machine`` builds on: it says, counts and remembers, and decides nothing."""

    def __init__(self, settings: Settings, client: str) -> None:
        self.settings = settings
        self.client = client
        """``name[address]``, as in log lines."""
        self.state = State.READY
        self.where = CONNECT
        self.protocol = "SMTP"
        self.helo = ""
        self.sender: str | None = None
        self.recipients: list[Rcpt] = []
        self.errors = 0
        self.troubles: set[str] = set()
        """notify_classes classes of what went wrong."""
        self.logs: list[tuple[str, str]] = []
        """("info" or "warning", text), for the driver to take."""
        self.history: list[str] = []
        self.footer: Callable[[str], tuple[str, list[str]]] | None = None
        """smtpd_reject_footer: what to add to a refusal, by the refusal: (to its line, further lines)."""
        self.notices: list[tuple[frozenset[str], list[str]]] = []
        """Transcripts that grew long before the session ended, with their troubles."""
        self.junk = 0
        self.counts: dict[str, list[int]] = {}
        self.noted_bare_newline = False
        self.output: list[str] = []
        self.held: deque[str] = deque()
        self.ready: deque[Event] = deque()

    @property
    def over(self) -> bool:
        """Nothing that the client sends counts any more."""
        return self.state is State.CLOSED

    def take_output(self) -> bytes:
        """What is to be sent now."""
        if not self.output:
            return b""
        output = self.output
        self.output = []
        return (output[0] if len(output) == 1 else "".join(output)).encode("utf-8")

    def resume(self) -> None:
        """The driver has slept as ``Pause`` said: the reply that was held back goes out."""
        if self.held:
            self.output.append(self.held.popleft())

    def close(self, reason: str = "") -> None:
        """No further input counts."""
        self.state = State.CLOSED
        self.ready.append(Hangup(reason))

    def statistics(self) -> str:
        """`` ehlo=1 mail=1 rcpt=0/1 commands=2/3``, for the disconnect line."""
        parts = []
        good = total = 0
        for verb, (accepted, said) in sorted(self.counts.items(), key=_place):
            good += accepted
            total += said
            parts.append(f"{_SHOWN[verb]}{accepted}" if accepted == said else f"{_SHOWN[verb]}{accepted}/{said}")
        parts.append(f" commands={good}" if good == total and total else f" commands={good}/{total}")
        if self.noted_bare_newline:
            parts.append(" notes=bare_lf")
        return "".join(parts)

    def context(self, recipient: str = "") -> str:
        """``from=<a> to=<b> proto=ESMTP helo=<c>``, as reject lines end."""
        text = f" from=<{self.sender}>" if self.sender is not None else ""
        if not recipient and self.recipients:
            recipient = self.recipients[0].address
        if recipient:
            text += f" to=<{recipient}>"
        text += f" proto={self.protocol}"
        return f"{text} helo=<{self.helo}>" if self.helo else text

    def flush_history(self) -> None:
        """A transcript that grew long is told now, and forgotten: a session may go on for days."""
        if len(self.history) > self.settings.history_flush_threshold:
            if self.troubles:
                self.notices.append((frozenset(self.troubles), self.history))
            self.troubles.clear()
            self.history = []

    def final_notice(self) -> tuple[frozenset[str], list[str]] | None:
        """The session's transcript with its troubles, when there were any."""
        if not self.history or not self.troubles:
            return None
        return frozenset(self.troubles), self.history

    def ok(self, verb: str, reply: str) -> None:
        counts = self.counts.get(verb)
        if counts is None:
            self.counts[verb] = [1, 0]
        else:
            counts[0] += 1
        settings = self.settings
        if self.errors >= settings.soft_error_limit or reply[0] != "2":
            self.reply(reply)
            return
        if settings.keep_history:
            self.history.append(f"Out: {reply}")
        self.output.append(f"{reply}\r\n")

    def wrong(self, reply: str, trouble: str = "") -> None:
        if trouble:
            self.troubles.add(trouble)
        self.reply(reply)
        self.errors += 1

    def count(self, verb: str, good: int, total: int) -> None:
        counts = self.counts.get(verb)
        if counts is None:
            self.counts[verb] = [good, total]
        else:
            counts[0] += good
            counts[1] += total

    def count_junk(self) -> None:
        if self.junk > self.settings.junk_command_limit:
            self.errors += 1
        self.junk += 1

    def reply(self, reply: str) -> None:
        settings = self.settings
        if reply[0] in "45":
            reply = self._finish_refusal(reply)
        if settings.keep_history:
            if "\r\n" in reply:
                self.history.extend(f"Out: {line}" for line in reply.split("\r\n"))
            else:
                self.history.append(f"Out: {reply}")
        self.say(reply)

    def say(self, reply: str) -> None:
        """Without an entry in the transcript."""
        settings = self.settings
        # Postfix: the more errors, the slower the answers.
        if self.errors >= settings.soft_error_limit and settings.error_sleep_time > 0:
            self.held.append(f"{reply}\r\n")
            self.ready.append(Pause(settings.error_sleep_time))
        else:
            self.output.append(f"{reply}\r\n")

    def _finish_refusal(self, reply: str) -> str:
        reply = UNPRINTABLE.sub(" ", reply[:_REPLY_LIMIT])
        if not reply.isascii():
            # Octets count, and a character is not cut in two.
            reply = reply.encode("utf-8", "replace")[:_REPLY_LIMIT].decode("utf-8", "ignore")
        if self.settings.soft_bounce and reply[0] == "5":
            # RFC 3463 2: the class of the enhanced code agrees with the code.
            reply = "4" + reply[1:4] + ("4" + reply[5:] if reply[4:5] == "5" else reply[4:])
        if self.footer is not None:
            more, lines = self.footer(reply)
            reply += more
            if not lines:
                return reply
            code = reply[:3]
            enhanced = reply[4:].partition(" ")[0]
            label = f"{enhanced} " if _ENHANCED.fullmatch(enhanced) else ""
            last = len(lines) - 1
            reply = f"{code}-{reply[4:]}" + "".join(
                f"\r\n{code}{' ' if index == last else '-'}{label}{line}" for index, line in enumerate(lines)
            )
        return reply

    def refuse_long(self) -> None:
        """A command longer than line_length_limit was received, and dropped."""
        self.where = UNKNOWN
        self.count(UNKNOWN, 0, 1)
        self.troubles.add("protocol")
        self.errors += 1
        self.reply(f"500 5.5.2 {self.settings.myhostname} Error: command too long")

    def log_reject(self, text: str, sender: str | None = None) -> None:
        saved = self.sender
        if sender is not None:
            self.sender = sender
        self.logs.append(("info", f"NOQUEUE: reject: {self.where} from {self.client}: {text};{self.context()}"))
        self.sender = saved
