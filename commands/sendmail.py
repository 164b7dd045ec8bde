"""sendmail, mailq, newaliases: the interface that programs know (Postfix manual: sendmail(1)).

    sendmail [option ...] [recipient ...]      post the message on standard input
    mailq, sendmail -bp                        list the queue (postqueue -p)
    newaliases, sendmail -bi, sendmail -I      build the alias databases (postalias)
    sendmail -q, -qIid, -qRsite                deliver now (postqueue -f, -i, -s)
    sendmail -bs                               an SMTP session on standard input and output; mail is posted
    sendmail -bd, -bl                          start the system

Posting: -t (recipients from the header, too), -i -oi (a line with a dot is text), -f -r sender, -F name, -N -R -V
(RFC 3461), -B 7BIT|8BITMIME, -G (from elsewhere: addresses are left alone), -XV[xy] (VERP), -O SMTPUTF8=yes, -v (a
report of the first try is mailed), -bv (a report of what would be done, nothing is delivered), -C config_dir, -- (end
of options). Other options of Sendmail are taken and ignored. Exit status: sysexits(3).

The message goes into the maildrop queue, directly where the caller may write there, else through the set-gid postdrop.
"""

import os
import pwd
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from tubepost.common.mail import addresslist, header
from tubepost.common.wire.envelope import Envelope, Notify, Recipient
from tubepost.common.wire.postdrop import Posting, encode_chunk, encode_end
from tubepost.common.spool import maildrop

from tubepost.commands import postdrop
from tubepost.commands.console import (
    EX_DATAERR,
    EX_OSERR,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    EX_USAGE,
    Console,
    Fatal,
    run,
)
from tubepost.commands.sendmail_options import Options, parse

_CHUNK = 65_536
# A header of this many bytes is not written by anybody; more is body as far as -t is concerned.
_HEADER_LIMIT = 1024 * 1024
_FROM = re.compile(rb">*From ")
# What a comment or a phrase in From: must not hold.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TO = (b"to", b"cc", b"bcc")
_RESENT_TO = (b"resent-to", b"resent-cc", b"resent-bcc")


class Content:
    """The message on standard input: read in chunks, line ends made right, its header kept for -t."""

    def __init__(self, source: BinaryIO, *, dot_ends: bool, fix_line_ends: str, want_header: bool) -> None:
        """``fix_line_ends``: sendmail_fix_line_endings."""
        self._source = source
        self._dot_ends = dot_ends
        self._fix = fix_line_ends
        self._collector = header.Collector(_HEADER_LIMIT) if want_header else None
        self._collected = False
        self.ascii = True
        """Of all that was read so far."""

    def chunks(self) -> Iterator[bytes]:
        """Raises OSError."""
        held: list[bytes] = []
        size = 0
        for line in self._lines():
            held.append(line)
            size += len(line)
            if size >= _CHUNK:
                yield self._note(b"".join(held))
                held.clear()
                size = 0
        if held:
            yield self._note(b"".join(held))

    def _note(self, chunk: bytes) -> bytes:
        if self.ascii:
            self.ascii = chunk.isascii()
        if self._collector is not None and not self._collected:
            try:
                self._collected = self._collector.feed(chunk)
            except ValueError:
                raise Fatal(EX_DATAERR, f"the message header is larger than {_HEADER_LIMIT} bytes") from None
        return chunk

    def _lines(self) -> Iterator[bytes]:
        """Lines with their LF; a line longer than a chunk comes in pieces, and so is not judged as a line."""
        fix = self._fix
        start = True
        begun = False
        held = b""
        while line := held + self._source.readline(_CHUNK):
            complete = len(line) - len(held) < _CHUNK
            if complete and not line.endswith(b"\n"):
                line += b"\n"  # the input ends here
            held = b""
            whole = line.endswith(b"\n")
            if whole and fix == "strict":
                # The first line says what the others are.
                fix = "always" if line.endswith(b"\r\n") else "never"
            if not begun:
                # A mailbox file's separator, also with what UUCP puts before it, is no part of the message.
                if whole and start and _FROM.match(line):
                    continue
                begun = True
            if fix == "always":
                if line.endswith(b"\r\n"):
                    line = line.rstrip(b"\r\n") + b"\n"
                elif line.endswith(b"\r"):
                    # The line end may have been cut in two.
                    line, held = line[:-1], b"\r"
            if self._dot_ends and start and line == b".\n":
                return
            start = whole
            yield line
        if not start:
            yield b"\n"

    def header_recipients(self) -> list[str]:
        """Addresses of To, Cc and Bcc, or of their Resent- forms if there are any (RFC 5322 3.6.6)."""
        collector = self._collector
        assert collector is not None
        if not self._collected:
            collector.finish()
            self._collected = True
        fields = header.scan(collector.block)
        names = _RESENT_TO if any(field.name in _RESENT_TO for field in fields) else _TO
        found: list[str] = []
        for field in fields:
            if field.name in names:
                found += addresslist.extract_addresses(field.value.decode("utf-8", "surrogateescape"))
        return found


class Submission:
    """One message from its options to the maildrop queue."""

    def __init__(self, console: Console, options: Options, words: Sequence[str]) -> None:
        self._console = console
        self._options = options
        self._words = words
        self._sender = self._find_sender()

    def _title(self) -> str:
        return f"{self._sender}({os.getuid()})"

    def _find_sender(self) -> str:
        given = self._options.sender
        if given is None:
            try:
                return pwd.getpwuid(os.getuid()).pw_name
            except KeyError:
                raise Fatal(EX_OSERR, f"no login name found for user ID {os.getuid()}") from None
        found = addresslist.extract_addresses(given)
        if len(found) > 1:
            self._console.warning(f"-f option specified malformed sender: {given}")
        return self._text(found[0]) if found else ""

    def _text(self, address: str) -> str:
        if not addresslist.is_text(address) or _CONTROLS.search(address):
            raise Fatal(EX_DATAERR, f"not a mail address: {address!r}")
        return address

    def _recipients(self, addresses: Sequence[str]) -> list[Recipient]:
        notify: tuple[Notify, ...] = self._options.notify
        return [Recipient(address=self._text(address), notify=notify) for address in addresses]

    def _fullname(self) -> str:
        """-F, NAME, or the account's own."""
        name = self._options.fullname
        if name is None:
            name = os.environ.get("NAME")
        if name is None:
            try:
                account = pwd.getpwuid(os.getuid())
            except KeyError:
                return ""
            # The classic meaning of & in a full name.
            name = account.pw_gecos.partition(",")[0].replace("&", account.pw_name.capitalize())
        return _CONTROLS.sub(" ", name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")).strip()

    def _probe(self) -> Iterator[bytes]:
        """-bv: no message is read, a small one is made."""
        lines = [f"From: {self._sender}"] if self._sender else []
        lines.append("Subject: probe")
        if self._words:
            lines.append("To: " + ",\n\t".join(self._words))
        yield "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")

    def submit(self) -> None:
        """Raises Fatal, OSError."""
        console, options = self._console, self._options
        postdrop.check_user(console)
        if options.verp and not self._sender:
            raise Fatal(EX_USAGE, f"{self._title()}: -V option requires non-null sender address")
        recipients = []
        for word in self._words:
            # Programs also give "a@b, c@d" and "Name <a@b>" as one word; a word without an address is one of nobody.
            recipients += self._recipients(addresslist.extract_addresses(word) or [""])
        if not recipients and not options.extract:
            raise Fatal(
                EX_USAGE,
                f"{self._title()}: Recipient addresses must be specified on the command line or via the -t option",
            )
        content = Content(
            sys.stdin.buffer,
            dot_ends=options.dot_ends,
            fix_line_ends=console.config.sendmail_fix_line_endings,
            want_header=options.extract,
        )

        def posting() -> Posting:
            everyone = recipients
            if options.extract:
                everyone = recipients + self._recipients(content.header_recipients())
                if not everyone:
                    raise Fatal(EX_USAGE, f"{self._title()}: No recipient addresses found in message header")
            return Posting(envelope=self._envelope(content.ascii), recipients=tuple(everyone))

        chunks = self._probe() if options.trace == "probe" else content.chunks()
        try:
            self._hand_over(chunks, posting)
        except Fatal as error:
            text = str(error)
            raise Fatal(error.status, text if text.startswith(self._title()) else f"{self._title()}: {text}") from error
        if options.trace:
            # Postfix's words: programs show them to the user.
            print(f"Mail Delivery Status Report will be mailed to <{self._sender}>.")

    def _envelope(self, is_ascii: bool) -> Envelope:
        options = self._options
        return Envelope(
            sender=self._sender,
            arrival_time=0,  # pickup knows it from the file
            # RFC 6152: what is not ASCII must be called so, that a relay without 8BITMIME is not sent it as it is.
            encoding=options.encoding or ("7bit" if is_ascii else "8bit"),
            smtputf8=options.smtputf8,
            ret=options.ret,
            envid=options.envid,
            verp=options.verp or "",
            fullname=self._fullname(),
            trace=options.trace,
            rewrite_context="remote" if options.gateway else "local",
        )

    def _hand_over(self, chunks: Iterator[bytes], posting: Callable[[], Posting]) -> None:
        console = self._console
        program = os.path.join(console.config.command_directory, "postdrop")
        if maildrop.needs_helper(program):
            _run_postdrop(program, console, chunks, posting)
            return
        postdrop.catch_signals()
        postdrop.post(console, chunks, posting)
        postdrop.wake_pickup(console)


def _run_postdrop(program: str, console: Console, chunks: Iterator[bytes], posting: Callable[[], Posting]) -> None:
    """Its complaints go to our standard error; its status becomes ours. Input cut short makes it forget the message."""
    try:
        process = subprocess.Popen(
            [program, "-c", console.directory, "-r"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
    except OSError as error:
        raise Fatal(EX_UNAVAILABLE, f"unable to execute {program}: {error.strerror}") from error
    assert process.stdin is not None
    broken = False
    with process:
        try:
            for chunk in chunks:
                process.stdin.write(encode_chunk(chunk))
            process.stdin.write(encode_end(posting()))
            process.stdin.close()
        except BrokenPipeError:
            broken = True  # its status says why
    if process.returncode or broken:
        status = process.returncode
        raise Fatal(status if 64 <= status <= 78 else EX_TEMPFAIL, f"{program} could not post the message")


def _enqueue(console: Console, options: Options, words: Sequence[str]) -> int:
    if options.site or options.queue_id:
        what = "flush site" if options.site else "flush queue_id"
        if words:
            raise Fatal(EX_USAGE, f"{what} requires no recipient")
        return _postqueue(console, options, ["-s", options.site] if options.site else ["-i", options.queue_id])
    Submission(console, options, words).submit()
    return 0


def _postqueue(console: Console, options: Options, arguments: list[str]) -> int:
    from tubepost.commands import postqueue

    return postqueue.main(["-c", console.directory, *arguments, *["-v"] * options.verbose])


def _newaliases(console: Console, options: Options) -> int:
    from tubepost.commands import postalias

    specs = [options.alias_database] if options.alias_database else list(console.config.alias_database)
    if not specs:
        return 0
    arguments = ["-c", console.directory, "--", *specs]
    os.chdir(console.caller_directory)
    return postalias.main(arguments)


def _start(console: Console) -> int:
    command = [sys.executable, "-I", "-m", "tubepost.commands.tubepost", "-c", console.directory, "start"]
    return subprocess.run(command, check=False).returncode


def _serve(console: Console) -> int:
    """-bs: smtpd in this process's place, on standard input and output. It posts as we would."""
    postdrop.check_user(console)
    directory = os.path.join(console.caller_directory, console.directory)
    arguments = ["-I", "-m", "tubepost.services.smtpd.standalone", "-c", directory, *["-v"] * console.verbose]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - no shell is wanted


def _work(console: Console, name: str, arguments: Sequence[str]) -> int:
    options = parse(console, arguments, name)
    words = options.recipients
    console.verbose = options.verbose
    config = console.open()
    options.settle(config)
    mode = options.mode
    if mode != "enqueue" and words:
        raise Fatal(EX_USAGE, f"{options.mode_title} mode requires no recipient")
    if options.ignored_interval and mode != "daemon":
        return 0
    if mode == "enqueue":
        return _enqueue(console, options, words)
    if mode == "mailq":
        return _postqueue(console, options, ["-p"])
    if mode == "flush":
        return _postqueue(console, options, ["-f"])
    if mode == "newaliases":
        return _newaliases(console, options)
    if mode == "daemon":
        return _start(console)
    if mode == "smtp":
        return _serve(console)
    return 0  # -bh, -bH: there is no host status


def _main(name: str, arguments: Sequence[str] | None) -> int:
    console = Console(name)
    return run(console, lambda: _work(console, name, sys.argv[1:] if arguments is None else arguments), EX_TEMPFAIL)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status. Called by another name (mailq, newaliases) it does that."""
    name = os.path.basename(sys.argv[0]) if arguments is None else "sendmail"
    return _main(name if name in ("mailq", "newaliases") else "sendmail", arguments)


def mailq(arguments: Sequence[str] | None = None) -> int:
    return _main("mailq", arguments)


def newaliases(arguments: Sequence[str] | None = None) -> int:
    return _main("newaliases", arguments)


if __name__ == "__main__":
    sys.exit(main())
