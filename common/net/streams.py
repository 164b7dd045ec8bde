"""One connection as a client drives it: bytes out with flow control, bytes in as they come, one deadline at a time."""

import asyncio
import ssl
from typing import cast

from tubepost.common.net import tls

# Above this much unsent, ``write`` has the caller wait in ``drain``: what a slow peer costs in memory.
_HIGH_WATER = 256 * 1024
# Seconds in which a peer must take the rest of what was written before the connection was closed.
_FINISH_TIMEOUT = 30.0


class Channel(asyncio.Protocol):
    """Subclass it: ``received`` gets bytes, ``lost`` is called once when the connection is of no further use."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._timer_at = 0.0
        self._writable: asyncio.Future[None] | None = None
        self._paused = False
        self.closed = False
        self.lingering = False
        """Finished, and the peer has not taken the last of it."""
        self._handshaking = False
        self._ended_early = False
        self._early: list[bytes] = []
        """Came with the end of the handshake, before the caller knows of it."""

    # For subclasses

    def received(self, data: bytes) -> None:
        raise NotImplementedError

    def lost(self, timed_out: bool) -> None:
        """The peer went away, or the deadline has passed."""

    def forget_input(self) -> None:
        """TLS begins: throw away what was received and not yet worked on. For whose ``received`` keeps any."""

    # For callers

    def write(self, data: bytes) -> None:
        """Send. After the connection was lost this does nothing."""
        if self._transport is not None and not self.closed:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the peer has taken most of what was written. Raises ConnectionError when it is gone."""
        if self.closed:
            raise ConnectionResetError("connection lost")
        if self._paused:
            if self._writable is None:
                self._writable = self.loop.create_future()
            await asyncio.shield(self._writable)

    def expect_by(self, seconds: float) -> None:
        """Something must happen within this time, or ``lost(True)`` is called. 0: no deadline.

        Moving a deadline costs nothing: the timer that is set looks, when it comes, whether the time has really come.
        """
        if not seconds:
            self._deadline = 0.0
            return
        now = self.loop.time()
        self._deadline = now + seconds
        if self._timer is None or self._timer_at > self._deadline:
            self._set_timer()

    async def start_tls(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        timeout: float,  # noqa: ASYNC109 - its own exception
        digest: str = "sha256",
        reply: bytes = b"",
    ) -> tls.Agreed:
        """TLS from here on. ``reply`` (``220 Ready``, ``+OK``) is the last that is sent in the clear, and nothing that
        was received in the clear is used any more: see ``forget_input``. The deadline of ``expect_by`` is taken away;
        ``timeout`` in seconds holds.

        Raises tls.HandshakeError: the connection is closed then, and ``lost`` is not called.
        """
        transport = self._transport
        if transport is None or self.closed:
            raise tls.HandshakeError("lost connection")
        self.expect_by(0)
        # In this order: a client that sends more behind its STARTTLS, in one packet or in two, has it thrown away
        # (RFC 3207 4.2, RFC 9051 6.2.1, CVE-2011-0411), for nothing is read between here and the handshake.
        transport.pause_reading()
        self.forget_input()
        if reply:
            transport.write(reply)
        self._handshaking = True
        try:
            made = await tls.upgrade(
                transport,
                self,
                context,
                server_side=server_side,
                server_hostname=server_hostname,
                timeout=timeout,
            )
        except BaseException:
            self._end()
            raise
        finally:
            self._handshaking = False
        if self._ended_early:
            self._end()
            made.abort()
            raise tls.HandshakeError("lost connection")
        made.set_write_buffer_limits(high=_HIGH_WATER)
        self._transport = made
        if self._early:
            # Once the caller has taken notice: an answer must not go out beside TLS.
            self.loop.call_soon(self._deliver_early)
        return tls.agreed(made, digest)

    @property
    def transport(self) -> asyncio.Transport | None:
        """Of the connection, the one that TLS made once it is there."""
        return self._transport

    def finish(self, patience: float = _FINISH_TIMEOUT) -> None:
        """Send what is waiting, for which the peer has ``patience`` seconds, then close. ``lost`` is not called."""
        self._end()
        transport = self._transport
        if transport is None:
            return
        transport.close()
        if transport.get_write_buffer_size():
            # A peer that never reads would have the descriptor, and what was written, for ever.
            self.lingering = True
            self._timer = self.loop.call_later(patience, transport.abort)

    def abort(self) -> None:
        """Close at once. ``lost`` is not called."""
        self._end()
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        if self._handshaking or self._early:
            self._early.append(data)
        elif not self.closed:
            self.received(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._handshaking:
            self._ended_early = True
            return
        self._lose(False)
        if self.lingering:
            self._end()
            self.lingering = False
        # That of TLS has large buffers, and whoever still holds the session is not to hold them.
        self._transport = None

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake_writer()

    # Within

    def _deliver_early(self) -> None:
        early, self._early = self._early, []
        if not self.closed:
            self.received(b"".join(early))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self.loop.call_at(self._deadline, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        if self.closed or not self._deadline:
            return
        if self.loop.time() < self._deadline:
            self._set_timer()
            return
        transport = self._transport
        self._lose(True)
        if transport is not None:
            transport.abort()

    def _lose(self, timed_out: bool) -> None:
        if self.closed:
            return
        self._end()
        self.lost(timed_out)

    def _end(self) -> None:
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake_writer()

    def _wake_writer(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                if self.closed:
                    self._writable.set_exception(ConnectionResetError("connection lost"))
                    # It may be that nobody waits any more.
                    self._writable.exception()
                else:
                    self._writable.set_result(None)
            self._writable = None
