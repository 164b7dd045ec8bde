"""Octets in and out: events of the reader one at a time, output gathered, compression below (RFC 4978)."""

import zlib

from tubepost.common.imap.reader import Event, Reader

from tubepost.common.skeleton.conversation import Conversation, Gone, Host
from tubepost.common.skeleton.stream import Peer

# Output that is gathered before it is written.
_GATHER = 64 * 1024
# What one piece of compressed input may become at a time.
_INFLATE = 256 * 1024


class Connection(Conversation):
    """What a session sits on. ``compressed``: COMPRESS is in use."""

    ahead = 128 * 1024

    def __init__(self, server: Host, peer: Peer, reader: Reader) -> None:
        super().__init__(server, peer)
        self.reader = reader
        self.compressed = False
        self._deflate: zlib._Compress | None = None
        self._inflate: zlib._Decompress | None = None
        self._packed = b""
        """Compressed input that waits until there is room for what it becomes."""
        self._out: list[bytes] = []
        self._out_size = 0
        self._flushes = 0
        self._woken = False
        self._sent = self._received = 0

    # Input

    def received(self, data: bytes) -> None:
        self._received += len(data)
        if self._inflate is not None:
            self._packed += data
            self._unpack()
        else:
            self.reader.feed(data)
        if self._packed or self.reader.waiting > self.ahead or self._behind > self.ahead:
            self.hold_input()
        self.wake_up()

    @property
    def _behind(self) -> int:
        """Octets that came behind the end of the compressed data."""
        return len(self._inflate.unused_data) if self._inflate is not None and self._inflate.eof else 0

    def _unpack_more(self) -> None:
        assert self._inflate is not None
        try:
            self.reader.feed(self._inflate.decompress(self._packed, _INFLATE))
            # A client that ends its layer with UNAUTHENTICATE: what follows is in unused_data.
            self._packed = b"" if self._inflate.eof else self._inflate.unconsumed_tail
        except zlib.error:
            self.abort()
            self.lost(False)

    def _unpack(self) -> None:
        """RFC 4978 4: what is read is bounded, whatever the few octets sent would become; the rest has to wait."""
        while self._packed and not self.closed and self.reader.waiting <= self.ahead:
            self._unpack_more()

    def forget_input(self) -> None:
        self.reader.take_rest()

    def lost(self, timed_out: bool) -> None:
        if timed_out and self._input is not None and self._transport is not None and not self._paused:
            # RFC 9051 7.1.5: between two commands the client is told why.
            farewell = b"* BYE Autologout; idle for too long\r\n"
            if self._deflate is not None:
                farewell = self._deflate.compress(farewell) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            self._transport.write(farewell)
        super().lost(timed_out)

    async def next_event(self, *, wakeable: bool = False) -> Event | None:
        """What the client sent next; None when there is news (only if ``wakeable``). Raises Gone."""
        while True:
            event = self.reader.next_event()
            if event is not None:
                return event
            if self._packed and not self.closed:
                # What is there is not enough, however much it is (a literal that is kept in memory).
                self._unpack_more()
                continue
            if self.closed or self.leaving or self._behind > self.ahead:
                # The last: without UNAUTHENTICATE nothing can come behind the end of the compressed data.
                raise Gone
            if wakeable and self._woken:
                return None
            await self.more_input()

    # Output

    def send(self, data: bytes) -> None:
        """Whole lines, each ended by CRLF; written soon, in order."""
        self._out.append(data)
        self._out_size += len(data)
        if self._out_size > _GATHER:
            self.flush()

    def mark(self) -> tuple[int, int]:
        """Here in the output, for ``since``."""
        return self._flushes, len(self._out)

    def since(self, mark: tuple[int, int]) -> bytes | None:
        """What was sent since then; None when some of it was written already."""
        flushes, place = mark
        return b"".join(self._out[place:]) if flushes == self._flushes else None

    def flush(self) -> None:
        """Write what was gathered."""
        if self._out:
            self._flushes += 1
            data = b"".join(self._out)
            self._out.clear()
            self._out_size = 0
            self._sent += len(data)
            if self._deflate is not None:
                data = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            self.write(data)

    @property
    def is_crowded(self) -> bool:
        """Does output wait that the client has not taken?"""
        return self._paused

    async def drain_out(self) -> None:
        """Write, and wait while the client is slow. Raises Gone."""
        self.flush()
        await self.drained()

    def compress(self) -> None:
        """From the next octet on, in both directions (RFC 4978)."""
        self.flush()
        self._deflate = zlib.compressobj(wbits=-15)
        self._inflate = zlib.decompressobj(wbits=-15)
        self.compressed = True
        rest = self.reader.take_rest()
        if rest:
            self._packed = rest
            self._unpack()

    def end_compression(self) -> None:
        """What was sent up to here is the last that is compressed, what comes from now on is not (RFC 8437 4.1)."""
        self.flush()
        if self._deflate is None or self._inflate is None:
            return
        self.write(self._deflate.flush(zlib.Z_FINISH))
        rest = self._inflate.unused_data + self._packed
        self._deflate = self._inflate = None
        self._packed = b""
        self.compressed = False
        if rest:
            self.reader.feed(rest)
