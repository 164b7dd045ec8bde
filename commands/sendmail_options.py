"""The command line of sendmail: what Sendmail's options mean here (Postfix manual: sendmail(1))."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tubepost.common.wire.envelope import Encoding, Notify
from tubepost.common.config import Config

from tubepost.commands.console import EX_USAGE, Console, Fatal

Mode = Literal["enqueue", "mailq", "newaliases", "daemon", "smtp", "flush", "nothing"]

# With a colon: takes a value, attached or as the next word. Options that do nothing are in it for their values' sake.
_LETTERS = "A:B:C:F:GIL:N:O:R:UV:X:b:ce:f:h:imno:p:r:q:tvx"
_VALUED = frozenset(letter for letter, colon in zip(_LETTERS, _LETTERS[1:] + " ", strict=True) if colon == ":")
_PLAIN = frozenset(_LETTERS) - _VALUED - {":"}
_OLD_VERP = re.compile(r"-V(..)?")
_MODES: dict[str, Mode] = {
    "d": "daemon", "l": "daemon", "h": "nothing", "H": "nothing", "i": "newaliases", "m": "enqueue", "p": "mailq",
    "s": "smtp",
}  # fmt: skip
_TITLES: dict[Mode, str] = {
    "mailq": "display queue",
    "flush": "flush queue",
    "daemon": "daemon",
    "newaliases": "alias initialization",
    "smtp": "stand-alone",
    "nothing": "host status",
}
_NOTIFY: dict[str, Notify] = {"success": "SUCCESS", "failure": "FAILURE", "delay": "DELAY", "never": "NEVER"}
_ENCODINGS: dict[str, Encoding] = {"7BIT": "7bit", "8BITMIME": "8bit"}
_RET: dict[str, Literal["FULL", "HDRS"]] = {"full": "FULL", "hdrs": "HDRS"}
# RFC 3461 4.4: a sender's ENVID has at most 100 characters.
_ENVID_LIMIT = 100


@dataclass(slots=True)
class Options:
    """What was asked for. Empty: not asked."""

    mode: Mode = "enqueue"
    sender: str | None = None
    fullname: str | None = None
    extract: bool = False
    dot_ends: bool = True
    gateway: bool = False
    encoding: Encoding | Literal[""] = ""
    notify: tuple[Notify, ...] = ()
    ret: Literal["", "FULL", "HDRS"] = ""
    envid: str = ""
    verp: str | None = None
    """None: not asked for; empty: with default_verp_delimiters."""
    smtputf8: bool = False
    trace: Literal["", "deliver", "probe"] = ""
    site: str = ""
    queue_id: str = ""
    alias_database: str = ""
    ignored_interval: bool = False
    """-q1h: the interval of queue runs is a matter of configuration."""
    verbose: int = 0
    recipients: list[str] = field(default_factory=list)

    @property
    def mode_title(self) -> str:
        return _TITLES.get(self.mode, self.mode)

    def settle(self, config: Config) -> None:
        """What only the configuration knows. Raises Fatal."""
        if self.verp is None:
            self.verp = ""
            return
        self.verp = self.verp or config.default_verp_delimiters
        if len(self.verp) != 2 or not set(self.verp) <= set(config.verp_delimiter_filter):
            raise Fatal(EX_USAGE, f"-V requires two characters from {config.verp_delimiter_filter}")


def parse(console: Console, arguments: Sequence[str], name: str = "sendmail") -> Options:
    """Options up to the first word that is none, or ``--``. Sets ``console.directory`` for -C. Raises Fatal."""
    options = Options()
    if name in ("mailq", "newaliases"):
        options.mode = "mailq" if name == "mailq" else "newaliases"
    words = list(arguments)
    place = 0
    while place < len(words):
        word = words[place]
        if word == "--":
            place += 1
            break
        if len(word) < 2 or word[0] != "-":
            break
        place += 1
        if word == "-q":
            _set_flush(console, options)
        elif word == "-XV":
            options.verp = ""
        elif word == "-V" and place < len(words) and len(words[place]) == 2 and not words[place].isalnum():
            # Postfix before 2.3 had VERP here.
            options.verp = ""
        elif len(word) == 4 and word.startswith("-V") and not word[2:].isalnum():
            options.verp = word[2:]
        else:
            place = _letters(console, options, name, words, place)
    options.recipients = words[place:]
    _check(options)
    return options


def _letters(console: Console, options: Options, name: str, words: list[str], place: int) -> int:
    """One word with one or more letters. Returns the place of the next word."""
    word = words[place - 1]
    for index, letter in enumerate(word[1:], 1):
        if letter in _VALUED:
            value = word[index + 1 :]
            if not value:
                if place >= len(words):
                    console.say(f"option requires an argument -- '{letter}'")
                    raise Fatal(EX_USAGE, f"usage: {name} [options]")
                value = words[place]
                place += 1
            _valued(console, options, letter, value)
            return place
        if letter not in _PLAIN:
            console.say(f"invalid option -- '{letter}'")
            raise Fatal(EX_USAGE, f"usage: {name} [options]")
        _plain(options, letter)
    return place


def _plain(options: Options, letter: str) -> None:
    if letter == "t":
        options.extract = True
    elif letter == "i":
        options.dot_ends = False
    elif letter == "G":
        options.gateway = True
    elif letter == "I":
        options.mode = "newaliases"
    elif letter == "v":
        options.verbose += 1


def _set_flush(console: Console, options: Options) -> None:
    if options.mode == "daemon":
        console.warning("ignoring -q option in daemon mode")
    else:
        options.mode = "flush"


def _valued(console: Console, options: Options, letter: str, value: str) -> None:
    if letter in "fr":
        options.sender = value
    elif letter == "F":
        options.fullname = value
    elif letter == "C":
        options_directory = value.removesuffix("/main.cf")
        console.directory = options_directory or "/"
    elif letter == "B":
        if value not in _ENCODINGS:
            raise Fatal(EX_USAGE, "-B option needs 8BITMIME or 7BIT")
        options.encoding = _ENCODINGS[value]
    elif letter == "N":
        options.notify = _notify(console, value)
    elif letter == "R":
        if value.lower() in _RET:
            options.ret = _RET[value.lower()]
        else:
            console.warning("bad -R option value -- ignored")
    elif letter == "V":
        if len(value) > _ENVID_LIMIT:
            console.warning("too long -V option value -- ignored")
        elif not value.isascii() or not value.replace("\t", "").isprintable():
            console.warning("bad syntax in -V option value -- ignored")
        else:
            options.envid = value
    elif letter == "X":
        # -X log_file of Sendmail is ignored; -XVxy is VERP.
        if value.startswith("V"):
            options.verp = value[1:]
    elif letter == "b":
        _set_mode(console, options, value)
    elif letter == "o":
        if value.startswith("A"):
            if len(value) == 1:
                raise Fatal(EX_USAGE, "-oA requires pathname")
            options.alias_database = value[1:]
        elif value.startswith("i"):
            options.dot_ends = False
    elif letter == "O":
        _long_option(console, options, value)
    elif letter == "q":
        _queue(options, value)


def _set_mode(console: Console, options: Options, value: str) -> None:
    if value[0] == "v":
        options.trace = "probe"
        return
    mode = _MODES.get(value[0])
    if mode is None:
        raise Fatal(EX_USAGE, f"unsupported: -b{value[0]}")
    if mode == "daemon" and options.mode == "flush":
        console.warning("ignoring -q option in daemon mode")
    options.mode = mode


def _notify(console: Console, value: str) -> tuple[Notify, ...]:
    """RFC 3461 4.1: NEVER stands alone."""
    found = [_NOTIFY.get(word.strip().lower()) for word in value.split(",")]
    if None in found or ("NEVER" in found and len(set(found)) > 1):
        console.warning(f"bad -N option value: '{value}' -- ignored")
        return ()
    return tuple(dict.fromkeys(one for one in found if one is not None))


def _long_option(console: Console, options: Options, value: str) -> None:
    """-O name=value: Sendmail's are ignored."""
    name, _, setting = value.partition("=")
    if name.lower() == "smtputf8":
        if setting.lower() not in ("yes", "no"):
            console.warning(f"bad -O option: '{value}' -- ignored")
        else:
            options.smtputf8 = setting.lower() == "yes"


def _queue(options: Options, value: str) -> None:
    if value[0].isdigit():
        options.ignored_interval = True
    elif value[0] == "R":
        options.site = value[1:]
        if not options.site:
            raise Fatal(EX_USAGE, "specify: -qRsitename")
    elif value[0] == "I":
        options.queue_id = value[1:]
        if not options.queue_id:
            raise Fatal(EX_USAGE, "specify: -qIqueueid")
    else:
        raise Fatal(EX_USAGE, f"-q{value[0]} is not implemented")


def _check(options: Options) -> None:
    """What does not go together. Raises Fatal."""
    if options.mode != "enqueue":
        for wanted, text in ((options.extract, "-t"), (options.site != "", "-qR"), (options.queue_id != "", "-qI")):
            if wanted:
                raise Fatal(EX_USAGE, f"{text} can be used only in delivery mode")
    if options.trace == "probe":
        for wanted, text in (
            (options.extract, "-t"),
            (options.notify != (), "-N"),
            (options.ret != "", "-R"),
            (options.verbose == 1, "-v"),
        ):
            if wanted:
                raise Fatal(EX_USAGE, f"{text} option cannot be used with -bv")
    elif options.verbose == 1 and options.mode == "enqueue":
        # One -v is a wish for a report, more are for whoever looks for a fault.
        options.verbose = 0
        options.trace = "deliver"
