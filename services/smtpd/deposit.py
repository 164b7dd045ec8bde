"""One message on its way to cleanup: kept whole while small, streamed once it is not."""

from collections.abc import Callable

from tubepost.common.wire.cleanup import INLINE_LIMIT, Deposit, Deposited
from tubepost.common.bus import Client, Upload
from tubepost.common.bus.errors import BusError, Refusal
from tubepost.common.bus.frames import CHUNK_SIZE


class Refused(Exception):
    """cleanup said no, or said nothing. ``reply`` is for the peer, ``trouble`` its notify_classes class."""

    def __init__(self, reply: str, trouble: str, log: str = "") -> None:
        super().__init__(reply)
        self.reply = reply
        self.trouble = trouble
        self.log = log


class Message:
    """``add`` the content as it comes, ``send`` when told to, then ``finish``; or ``cancel``.

    ``build`` makes the request when it is due; it is told whether the content is known to be ASCII.
    """

    __slots__ = ("_build", "_chunks", "_client", "_error", "_held", "_upload")

    def __init__(self, client: Client, build: Callable[[bool], Deposit]) -> None:
        self._client = client
        self._build = build
        self._chunks: list[bytes] = []
        self._held = 0
        self._upload: Upload[Deposited] | None = None
        self._error: BusError | None = None

    @property
    def under_way(self) -> bool:
        """The request has gone out: what it says can no longer be changed."""
        return self._upload is not None

    def add(self, data: bytes) -> bool:
        """True when ``send`` is due: at most INLINE_LIMIT bytes are kept."""
        if self._error is not None:
            return False
        self._chunks.append(data)
        self._held += len(data)
        return self._held >= CHUNK_SIZE if self._upload is not None else self._held > INLINE_LIMIT

    async def send(self) -> None:
        """Waits while cleanup is slower than the client."""
        if self._upload is None:
            try:
                self._upload = self._client.upload(self._build(False), Deposited)
            except BusError as error:
                self._fail(error)
                return
        await self._send()

    async def _send(self) -> None:
        upload = self._upload
        assert upload is not None
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._held = 0
        # In equal parts: what is left over need not be copied to the front of the next.
        size = -(-len(data) // -(-len(data) // CHUNK_SIZE)) if data else 0
        position = 0
        try:
            while position < len(data) and not upload.answered:
                await upload.send(data[position : position + size])
                position += size
        except BusError as error:
            self._fail(error)

    def _fail(self, error: BusError) -> None:
        # The client goes on sending until it has sent all; it is told then.
        self._error = error
        self._chunks.clear()
        self._held = 0
        self.cancel()

    async def finish(self) -> Deposited:
        """All content is there. Raises Refused."""
        try:
            if self._error is not None:
                raise self._error
            if self._upload is None:
                content = b"".join(self._chunks)
                return await self._client.call(self._build(content.isascii()), Deposited, payload=content)
            await self._send()
            if self._error is not None:
                raise self._error
            return await self._upload.finish()
        except Refusal as error:
            refused = error.refused
            code = refused.code if 400 <= refused.code <= 599 else 451
            status = refused.dsn or f"{code // 100}.3.0"
            trouble = "policy" if code >= 500 else "resource"
            raise Refused(f"{code} {status} {refused.reason}", trouble) from error
        except BusError as error:
            # RFC 5321 4.2.4.2: nothing was taken over, the client keeps the message and tries again.
            raise Refused("451 4.3.0 Error: queue file write error", "resource", str(error)) from error

    def cancel(self) -> None:
        """Forget it."""
        self._chunks.clear()
        self._held = 0
        if self._upload is not None:
            self._upload.cancel()
            self._upload = None
