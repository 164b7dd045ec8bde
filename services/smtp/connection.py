"""Drives one Conversation over one connection: moves bytes, keeps the time limits, streams the content."""

import asyncio
from collections.abc import Callable

from tubepost.common.system import log
from tubepost.common.net import certificates, tls
from tubepost.common.net.streams import Channel
from tubepost.common.net.tls import HandshakeError
from tubepost.common.tables import TableError

from tubepost.services.smtp.content import Content, ContentError
from tubepost.services.smtp.handshake import tls_failed, tls_unverified
from tubepost.services.smtp.policy import is_accepted
from tubepost.services.smtp.protocol import Conversation, Mail, Phase
from tubepost.services.smtp.routing import Target
from tubepost.services.smtp.security import Handshake, Need
from tubepost.services.smtp.stages import Stage, Trouble


class Timing:
    """Time limits of the stages, seconds. ``deadlines``: smtp_per_request_deadline, at ``rate`` bytes a second."""

    def __init__(self, limits: dict[Stage, float], *, deadlines: bool = False, rate: int = 0) -> None:
        self.limits = limits
        self.deadlines = deadlines
        self.rate = rate


class Connection(Channel):
    """``uses``: deliveries so far. ``opened``: loop time of the connection."""

    def __init__(self, conversation: Conversation, timing: Timing, handshake: Handshake | None = None) -> None:
        """``handshake``: what to do about TLS; None: nothing."""
        super().__init__()
        self._handshake = handshake
        self.need: Need | None = None
        self.target: Target | None = None
        """What, and which next hop, it was made for."""
        self.conversation = conversation
        self.opened = self.loop.time()
        self.uses = 0
        self.on_idle_loss: Callable[[Connection], None] | None = None
        """Called when it ends while it is kept."""
        self._timing = timing
        self._deaf = handshake is not None and handshake.policy.wrapper
        """TLS begins with the connection: what comes in the clear is not the server's."""
        self._waiter: asyncio.Future[None] | None = None
        self._content: Content | None = None
        self._prepared: bytes | None = None
        self._sender: asyncio.Task[None] | None = None
        self._progress = -1
        self._stage: Stage | None = None

    # -- what the delivery does --------------------------------------------------------------------------------------

    async def greet(self) -> Trouble | None:
        """Wait for the greeting and say hello. The trouble, where there is any."""
        conversation = self.conversation
        if self._handshake is not None and self._handshake.policy.wrapper and not await self._secure():
            return conversation.failure
        self._advance()
        await self._settled()
        while conversation.wants_tls and not self.closed:
            if await self._secure():
                self._advance()
                await self._settled()
        return conversation.failure

    async def _secure(self) -> bool:
        """The handshake as client. False: the connection is of no further use, ``conversation.failure`` says why."""
        conversation, handshake = self.conversation, self._handshake
        assert handshake is not None
        keeper, policy, server = handshake.keeper, handshake.policy, conversation.server
        try:
            context = keeper.context(policy)
        except (ValueError, certificates.CertificateError) as error:
            log.warning(f"TLS configuration problem: {error}")
            tls_failed(conversation, "client TLS configuration problem")
            self.abort()
            return False
        keeper.log_begin(server)
        try:
            agreed = await self.start_tls(
                context,
                server_side=False,
                server_hostname=keeper.server_name(policy, server, handshake.nexthop),
                timeout=keeper.timeout,
                digest=keeper.digest,
            )
        except HandshakeError as error:
            keeper.log_failure(server, error)
            if error.verification:
                tls_unverified(conversation, "Server certificate not trusted")
            else:
                tls_failed(conversation, "Cannot start TLS: handshake failure")
            return False
        accepted = is_accepted(policy, agreed.certificate, server.host, handshake.nexthop)
        verified = policy.verifies and accepted
        keeper.log_agreed(server, agreed, self._word(agreed, verified=verified))
        if not accepted:
            tls_unverified(conversation, "Server certificate not verified")
            self.abort()
            return False
        self._deaf = False
        binding = b""
        if self.transport is not None and (der := tls.ssl_object(self.transport).getpeercert(binary_form=True)):
            binding = certificates.end_point(der)
        conversation.secured(binding, verified=verified)
        return True

    def _word(self, agreed: tls.Agreed, *, verified: bool) -> str:
        """How far the server is known, in Postfix's words."""
        if verified:
            return "Verified"
        if agreed.certificate is None:
            return "Anonymous"
        assert self._handshake is not None
        if agreed.certificate.verified:
            return "Trusted"
        keeper = self._handshake.keeper
        if keeper.loglevel and self.transport is not None and keeper.is_trusted(tls.peer_chain(self.transport)):
            return "Trusted"
        return "Untrusted"

    def reserve(self, mail: Mail, content: Content | None) -> "asyncio.Future[None]":
        """Begin a transaction; the future is done when ``mail.results`` are there, or ``conversation.failure`` is.

        Raises ContentError.
        """
        self.uses += 1
        self._content = content
        self.conversation.begin(mail)
        waiter = self._waiter = self.loop.create_future()
        # Written before the content is read: the peer works on the envelope meanwhile.
        self._advance()
        if content is not None and not waiter.done():
            self._prepared = content.whole()
        return waiter

    async def transact(self, mail: Mail, content: Content | None) -> None:
        """One transaction. Raises ContentError, and leaves the connection aborted then."""
        try:
            waiter = self.reserve(mail, content)
            if not waiter.done():
                await waiter
        except BaseException:
            self._stop_sending()
            self.abort()
            raise
        finally:
            self._waiter = None
            self._content = self._prepared = None
        sender, self._sender = self._sender, None
        if sender is not None:
            if not sender.done():
                sender.cancel()
                # Half a message is out there, and its rest is of no use to anybody.
                self.abort()
            await asyncio.wait((sender,))
            if not sender.cancelled() and (error := sender.exception()) is not None:
                self.abort()
                raise error

    def say_goodbye(self) -> None:
        """QUIT, and close without waiting for the reply (smtp_skip_quit_response)."""
        if not self.closed:
            self.conversation.quit()
            self.write(self.conversation.take())
            self.finish(self._timing.limits[Stage.QUIT])

    async def leave(self, *, wait: bool = False) -> None:
        """Say goodbye. ``wait``: for the reply to QUIT (smtp_skip_quit_response = no)."""
        if self.closed:
            return
        conversation = self.conversation
        conversation.quit()
        self.write(conversation.take())
        if wait and conversation.stage is Stage.QUIT:
            self._waiter = self.loop.create_future()
            self.expect_by(self._timing.limits[Stage.QUIT])
            await self._waiter
        self.finish(self._timing.limits[Stage.QUIT])

    @property
    def usable(self) -> bool:
        """Whether another transaction may be begun."""
        conversation = self.conversation
        return not self.closed and conversation.phase is Phase.READY and not conversation.must_close

    # -- Channel -----------------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        conversation = self.conversation
        if self._deaf:
            return
        kept = conversation.phase is Phase.READY
        try:
            conversation.feed(data)
        except TableError as error:
            # smtp_reply_filter
            log.warning(str(error))
            conversation.failure = Trouble("4.3.0", f"local data error while talking to {conversation.server.name}")
            conversation.close()
            self.abort()
            self._gone()
            return
        if kept:
            # The peer speaks unasked: it says that it is going.
            self._gone()
        else:
            self._advance()

    def lost(self, timed_out: bool) -> None:
        self.conversation.lost(timed_out)
        self._gone()

    # -- within ------------------------------------------------------------------------------------------------------

    def _gone(self) -> None:
        self._stop_sending()
        if self.on_idle_loss is not None:
            self.on_idle_loss(self)
        self._wake()

    def _advance(self) -> None:
        conversation = self.conversation
        data = conversation.take()
        if data:
            self.write(data)
        if conversation.notes:
            for note in conversation.notes:
                log.warning(note)
            conversation.notes.clear()
        if conversation.remarks:
            for remark in conversation.remarks:
                log.info(remark)
            conversation.remarks.clear()
        if conversation.wants_tls:
            self.expect_by(0)
            self._wake()
            return
        if conversation.wants_content:
            conversation.wants_content = False
            self._send_content()
        if conversation.phase in (Phase.READY, Phase.CLOSED) and conversation.stage is not Stage.QUIT:
            self.expect_by(0)
            self._wake()
            return
        if conversation.phase is Phase.CLOSED:
            self._wake()
            return
        self._arm()

    def _arm(self) -> None:
        """Set the time limit of what is awaited: for each read, or once a command (smtp_per_request_deadline)."""
        conversation = self.conversation
        stage = conversation.stage
        if stage is None:
            return
        if self._timing.deadlines and stage is self._stage and conversation.answered == self._progress:
            return
        self._stage, self._progress = stage, conversation.answered
        self.expect_by(self._timing.limits[stage])

    def _send_content(self) -> None:
        prepared = self._prepared
        content = self._content
        if prepared is None and content is not None:
            try:
                prepared = content.whole()
            except ContentError:
                prepared = None
        if prepared is not None:
            self.write(prepared)
            self._prepared = None
            self.conversation.content_sent()
        else:
            self._sender = self.loop.create_task(self._stream())

    async def _stream(self) -> None:
        content = self._content
        assert content is not None
        conversation = self.conversation
        limit = self._timing.limits[Stage.BODY]
        sent, begun = 0, self.loop.time()
        try:
            async for piece in content.pieces():
                self.write(piece)
                sent += len(piece)
                if self._timing.deadlines:
                    # Postfix: the deadline moves as far as the bytes sent pay for at the least rate.
                    limit_now = begun + limit + sent / max(self._timing.rate, 1) - self.loop.time()
                    self.expect_by(max(limit_now, 0.001))
                else:
                    self.expect_by(limit)
                await self.drain()
                if conversation.stage is not Stage.BODY:
                    return
        except ConnectionError:
            return
        except Exception:
            # Never a final dot behind half a message.
            self.abort()
            self._wake()
            raise
        conversation.content_sent()
        if not self.closed:
            self._stage = None
            self._arm()

    def _stop_sending(self) -> None:
        if self._sender is not None and not self._sender.done():
            self._sender.cancel()

    async def _settled(self) -> None:
        conversation = self.conversation
        if conversation.phase is Phase.GREETING and not conversation.wants_tls and not self.closed:
            self._waiter = self.loop.create_future()
            await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
