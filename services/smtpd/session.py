"""Drives the machine of ``protocol`` for one TCP client: reads, writes, waits, and asks whoever must be asked.

The session is written as steps: it waits only where it must. The bytes are ``connection``'s affair.
"""

import asyncio
import os
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from tubepost.common.smtp import extensions
from tubepost.common.wire import auth, flush
from tubepost.common.system import ids, log
from tubepost.common.bus.client import Talk
from tubepost.common.bus.errors import BusError, Refusal
from tubepost.common.config.expand import ExpandError, expand
from tubepost.common.tables import TableError
from tubepost.common.tables.match import HostList
from tubepost.common.skeleton.authentication import Exchange
from tubepost.common.skeleton.stream import Peer

from tubepost.services.smtpd import counting, events, proxied, security
from tubepost.services.smtpd.connection import Connection, Gone
from tubepost.services.smtpd.deposit import Message, Refused
from tubepost.services.smtpd.handover import deposit_of
from tubepost.services.smtpd.origin import origin_text
from tubepost.services.smtpd.posting import Post
from tubepost.services.smtpd.protocol import Machine
from tubepost.services.smtpd.restrictions import engine
from tubepost.services.smtpd.restrictions.dnslists import reply_values
from tubepost.services.smtpd.restrictions.evaluation import Client, Effects, Evaluation, HangUp
from tubepost.services.smtpd.steps import Steps
from tubepost.services.smtpd.tables import AFTER_BDAT, AFTER_DATA, END_OF_MESSAGE

if TYPE_CHECKING:
    from typing import Literal

    from tubepost.services.smtpd.server import Smtpd

# Seconds; a client waits meanwhile.
_FLUSH_DEADLINE = 30.0
_instances = 0


class Session(Connection):
    """One client, from accept to the disconnect line."""

    def __init__(self, server: "Smtpd", peer: Peer) -> None:
        super().__init__(server.process, peer.address)
        self.server = server
        self._peer = peer
        self.client = Client(
            peer.address,
            str(peer.port),
            local_address=peer.local_address,
            local_port=str(peer.local_port),
            with_port=self.config.smtpd_client_port_logging,
        )
        self.machine = Machine(server.settings, f"unknown[{peer.address}]")
        self.evaluation = Evaluation(server.outside, self.client)
        self.message: Message | Post | None = None
        self.forwarded: dict[str, str] = {}
        self._mail: events.Mail | None = None
        self.arrival = 0.0
        self.context: Literal["local", "remote"] = "remote"
        self.counted_as = ""
        """Under this name anvil was told of the connection; empty: it was not."""
        self.counted_by: Talk | None = None
        self.exchange: Exchange | None = None
        self.success: auth.Success | None = None
        """The client has authenticated, and is yet to hear the mechanism's last word."""
        self.sasl_method = ""
        self._reason = ""

    # The session's life

    def live(self) -> Steps[None]:
        try:
            yield from self._begin()
            yield from self._serve()
        except Gone as gone:
            self._reason = gone.reason
        except HangUp:
            self.abort()
        except Exception as error:
            log.panic(f"session of {self.client.identity}: {type(error).__name__}: {error}")
            self.machine.troubles.add("software")
            self.machine.break_down()
            self.write()
        yield from self._end()

    def _begin(self) -> Steps[None]:
        client, machine, outside = self.client, self.machine, self.server.outside
        if self.config.smtpd_peername_lookup and not outside.knows_client(client):
            yield outside.name_client(client)
        machine.client = client.identity
        log.info(f"connect from {machine.client}")
        try:
            yield from self.know_client()
        except TableError as error:
            log.warning(str(error))
            machine.break_down()
            return
        yield from counting.connection(self)
        yield from security.wrap(self)
        denied = yield from self.judge_client()
        if not machine.over:
            machine.greet(denied)

    def judge_client(self) -> Steps[str]:
        """smtpd_client_restrictions of a client that comes, by itself or by XCLIENT."""
        lists = self.server.outside.lists
        if self.machine.over or self.config.smtpd_delay_reject or not lists.client:
            return ""
        return (yield from engine.check_client(self.evaluation, lists))

    def is_among(self, hosts: HostList) -> Steps[bool]:
        """Raises TableError."""
        client = self.client
        if hosts.immediate:
            return hosts.match_now(client.name, client.address)
        found: bool = yield hosts.match(client.name, client.address)
        return found

    def know_client(self) -> Steps[None]:
        """What lists of clients say of this one. Raises TableError."""
        outside, machine = self.server.outside, self.machine
        if outside.xclient_hosts:
            machine.xclient_allowed = yield from self.is_among(outside.xclient_hosts)
        if outside.xforward_hosts:
            machine.xforward_allowed = yield from self.is_among(outside.xforward_hosts)
        if outside.verp_clients:
            machine.verp_allowed = yield from self.is_among(outside.verp_clients)
        yield from security.prepare(self)
        exclusions = outside.bare_newline_exclusions
        trusted = bool(exclusions) and (yield from self.is_among(exclusions))
        machine.bare_newline_policy = "no" if trusted else self.server.settings.forbid_bare_newline
        words = None
        if outside.ehlo_discard:
            words = yield outside.ehlo_discard.lookup(self.client.address)
        if words is None:
            machine.withheld, machine.withheld_silently = self.server.withheld
        else:
            machine.withheld, machine.withheld_silently, _ = extensions.parse_discard(words)
        if self.config.smtpd_reject_footer or outside.footers:
            machine.footer = self._footer

    def _footer(self, reply: str) -> tuple[str, list[str]]:
        """See ``Ledger.footer``."""
        outside = self.server.outside
        template: str | None = None
        try:
            if outside.footers and outside.footers.immediate:
                template = outside.footers.find(reply)
            values = reply_values(self.evaluation)
            # What a client said makes no lines: they are divided before.
            texts = (template or self.config.smtpd_reject_footer).split("\\n")
            lines = [expand(text, lambda name: outside.censor(values.get(name))) for text in texts]
            if texts[0].startswith("\\c"):
                return lines[0][2:], lines[1:]
            return "", lines if texts != [""] else []
        except (TableError, ExpandError) as error:
            log.warning(f"smtpd_reject_footer: {error}")
            return "", []

    def _serve(self) -> Steps[None]:
        machine = self.machine
        while True:
            event = machine.next_event()
            if machine.logs:
                self._take_logs()
            if machine.notices:
                yield from self._tell_notices()
            if event is None:
                self.write()
                yield from self.more_input()
                continue
            kind = event.__class__
            if kind is events.Content:
                if self.message is not None and self.message.add(cast("events.Content", event).data):
                    yield self.message.send()
                continue
            if kind is events.Hangup:
                self._reason = cast("events.Hangup", event).reason
                self.write()
                return
            self.request_since = 0.0
            if kind is events.Rcpt:
                yield from self._rcpt(cast("events.Rcpt", event))
            elif kind is events.Mail:
                yield from self._mail_from(cast("events.Mail", event))
            elif kind is events.EndOfContent:
                yield from self._end_of_content(cast("events.EndOfContent", event))
            elif kind is events.Data:
                yield from self._data()
            elif kind is events.Helo:
                yield from self._helo(cast("events.Helo", event))
            else:
                yield from self._seldom(event)

    def _seldom(self, event: events.Event) -> Steps[None]:
        match event:
            case events.ContentLost():
                self._forget_content()
            case events.Reset():
                self.forget_mail()
            case events.StartTls():
                yield from security.start_tls(self)
            case events.Auth():
                yield from security.authenticate(self, event)
            case events.AuthResponse():
                yield from security.go_on(self, event)
            case events.AuthAbandoned():
                security.abandon(self)
            case events.Pause():
                self.write()
                yield asyncio.sleep(event.seconds)
                self.machine.resume()
            case events.Vrfy():
                yield from self._vrfy(event)
            case events.Etrn():
                yield from self._etrn(event)
            case events.Xclient():
                yield from proxied.take_place(self, event)
            case events.Xforward():
                self.forwarded.update(event.attributes)
                self.machine.accept()

    def _end(self) -> Steps[None]:
        self._forget_content()
        security.abandon(self)
        if self.timer is not None:
            self.timer.cancel()
        machine = self.machine
        if self.must_linger:
            yield self.linger()
        if self.transport is not None and not self.lost:
            self.transport.close()
        self._take_logs()
        if self._reason:
            self._log_end(self._reason)
        log.info(f"disconnect from {machine.client}{machine.statistics()}")
        counting.disconnected(self)
        machine.troubles |= self.evaluation.troubles
        last = machine.final_notice()
        if last is not None:
            machine.notices.append(last)
        yield from self._tell_notices()
        self.server.forget(self)

    def _tell_notices(self) -> Steps[None]:
        notices, self.machine.notices = self.machine.notices, []
        for troubles, transcript in notices:
            yield self.server.notify(self.client.identity, troubles, transcript, self._reason)

    def _log_end(self, reason: str) -> None:
        where = self.machine.where
        if where in (AFTER_DATA, AFTER_BDAT):
            size = self.machine.content_size + self.machine.waiting_input
            log.info(f"{reason} after {where.partition(' ')[0]} ({size} bytes) from {self.client.identity}")
        elif where != END_OF_MESSAGE or reason != "lost connection":
            log.info(f"{reason} after {where} from {self.client.identity}")

    def _take_logs(self) -> None:
        for level, text in self.machine.logs:
            if level == "info":
                log.info(text)
            else:
                log.warning(text)
        self.machine.logs.clear()

    # Commands

    def _helo(self, event: events.Helo) -> Steps[None]:
        evaluation, machine = self.evaluation, self.machine
        evaluation.helo = event.name
        evaluation.where = machine.where
        lists = self.server.outside.lists
        if not self.config.smtpd_delay_reject and lists.helo:
            reply = yield from engine.check_helo(evaluation, lists)
            if reply:
                # The message that was begun goes on.
                evaluation.helo = machine.helo
                self._refuse(reply)
                return
        self.forget_mail()
        if event.extended and machine.auth_active:
            yield from security.offer(self)
        machine.accept()
        evaluation.protocol = machine.protocol

    def _mail_from(self, event: events.Mail) -> Steps[None]:
        evaluation, machine, outside = self.evaluation, self.machine, self.server.outside
        if prober := self.server.prober(event.sender):
            event = replace(event, sender=prober)
        evaluation.effects = Effects()
        evaluation.where = "MAIL"
        evaluation.sender = event.sender
        evaluation.recipient = None
        evaluation.recipient_count = 0
        evaluation.size = event.size
        evaluation.sasl_sender = event.auth if self.client.user else ""
        evaluation.content_size = 0
        evaluation.smtputf8 = event.smtputf8
        evaluation.pipelined = machine.pipelined_wrongly
        reply = ""
        if (yield from counting.exceeds(self, "message", self.config.smtpd_client_message_rate_limit)):
            reply = f"450 4.7.1 Error: too much mail from {self.client.address}"
            machine.troubles.add("policy")
        if not reply and not self.config.smtpd_delay_reject:
            reply = yield from engine.check_sender(evaluation, outside.lists)
        if not reply and not self.server.has_space():
            # RFC 1870 6.1, RFC 5321 4.2.3
            evaluation.begin()
            evaluation.reject("resource", 452, "4.3.1", "Insufficient system storage")
            reply = evaluation.reply
        if reply:
            self.forget_mail()
            self._refuse(reply)
            return
        self.arrival = now = time.time()
        self._mail = event
        global _instances
        _instances += 1
        micros = int(now % 1 * 1_000_000)
        evaluation.instance = f"{os.getpid():x}.{int(now):x}.{micros:x}.{_instances}"
        machine.accept()

    def _rcpt(self, event: events.Rcpt) -> Steps[None]:
        evaluation, machine = self.evaluation, self.machine
        if self.counted_as and not (yield from self._may_name_recipient()):
            return
        prober = self.server.prober(event.address)
        if not prober:
            evaluation.where = "RCPT"
            evaluation.recipient = event.address
            evaluation.recipient_count = len(machine.recipients)
            evaluation.pipelined = machine.pipelined_wrongly
            reply = yield from engine.check_recipient(evaluation, self.server.outside.lists)
            if reply:
                self._refuse(reply)
                # Not of this one speaks what is refused from here on.
                evaluation.recipient = machine.recipients[0].address if machine.recipients else None
                return
        machine.accept()
        if prober:
            machine.recipients[-1] = replace(event, address=prober)

    def _may_name_recipient(self) -> Steps[bool]:
        if not (yield from counting.exceeds(self, "recipient", self.config.smtpd_client_recipient_rate_limit)):
            return True
        self.machine.refuse(f"450 4.7.1 Error: too many recipients from {self.client.address}", "policy")
        return False

    def _data(self) -> Steps[None]:
        evaluation, machine, lists = self.evaluation, self.machine, self.server.outside.lists
        if lists.data:
            self._judge_all_recipients(machine.where)
            reply = yield from engine.check_data(evaluation, lists)
            if reply:
                self._refuse(reply)
                return
        try:
            self.context = yield from self._rewrite_context()
        except TableError as error:
            log.warning(f"local_header_rewrite_clients: {error}")
            self._refuse("451 4.3.0 Temporary lookup error", "data")
            return
        mail = self._mail
        assert mail is not None
        self.message = self.server.new_message(partial(deposit_of, self, mail))
        machine.accept()

    def _judge_all_recipients(self, where: str) -> None:
        recipients = self.machine.recipients
        evaluation = self.evaluation
        evaluation.where = where
        evaluation.recipient_count = len(recipients)
        evaluation.recipient = recipients[0].address if len(recipients) == 1 else None
        evaluation.pipelined = self.machine.pipelined_wrongly

    def _end_of_content(self, event: events.EndOfContent) -> Steps[None]:
        evaluation, machine, lists = self.evaluation, self.machine, self.server.outside.lists
        message = self.message
        assert message is not None
        effects = evaluation.effects
        if lists.end_of_data:
            evaluation.content_size = event.size
            before = (effects.content_filter, effects.redirect, effects.hold, len(effects.bcc), effects.discard)
            self._judge_all_recipients(END_OF_MESSAGE)
            reply = yield from engine.check_end_of_data(evaluation, lists)
            if reply:
                self.forget_mail()
                self._refuse(reply)
                return
            after = (effects.content_filter, effects.redirect, effects.hold, len(effects.bcc), effects.discard)
            if before != after and message.under_way:
                log.warning(
                    f"an action of smtpd_end_of_data_restrictions comes too late for a large message "
                    f"from {self.client.identity}"
                )
        if effects.discard:
            # DISCARD: the client is told that all went well, and nothing is kept.
            self._forget_content()
            queue_id, asked = ids.new_queue_id(), 0.0
        else:
            # Replies to what came before need not wait for the disk.
            self.write()
            # What cleanup and qmgr say of the message comes after this line, as in Postfix: log analysers want that.
            asked = time.time()
            try:
                deposited = yield message.finish()
            except Refused as refused:
                if refused.log:
                    log.warning(f"cannot queue a message from {self.client.identity}: {refused.log}")
                self.forget_mail()
                self._refuse(refused.reply, refused.trouble)
                return
            queue_id = deposited.queue_id
        self.message = None
        origin = origin_text(self.client, evaluation.sasl_sender, self.forwarded)
        log.info(f"{queue_id}: client={machine.client}{origin}", asked)
        evaluation.troubles.clear()
        self.forget_mail()
        self.served = True
        machine.accept(queue_id)

    def _refuse(self, reply: str, trouble: str = "") -> None:
        self.machine.troubles |= self.evaluation.troubles
        self.evaluation.troubles.clear()
        self.machine.refuse(reply, trouble)

    def _forget_content(self) -> None:
        if self.message is not None:
            self.message.cancel()
            self.message = None

    def forget_mail(self) -> None:
        """The message that was begun, with what came of it so far."""
        self._forget_content()
        evaluation = self.evaluation
        evaluation.sender = None
        evaluation.sasl_sender = ""
        evaluation.recipient = None
        evaluation.recipient_count = 0
        evaluation.effects = Effects()
        self.forwarded = {}
        self._mail = None

    def _vrfy(self, event: events.Vrfy) -> Steps[None]:
        if self.counted_as and not (yield from self._may_name_recipient()):
            return
        evaluation = self.evaluation
        saved = evaluation.recipient
        evaluation.where = "VRFY"
        evaluation.recipient = event.address
        reply = yield from engine.check_recipient(evaluation, self.server.outside.lists)
        evaluation.recipient = saved
        if reply:
            self._refuse(reply)
        else:
            self.machine.accept()

    def _etrn(self, event: events.Etrn) -> Steps[None]:
        evaluation = self.evaluation
        evaluation.where = "ETRN"
        evaluation.etrn = event.domain
        reply = yield from engine.check_etrn(evaluation, self.server.outside.lists)
        evaluation.etrn = ""
        if reply:
            self._refuse(reply)
            return
        client = self.server.process.client(self.config.flush_service_name)
        try:
            yield client.call(flush.SendSite(site=event.domain), flush.Done, deadline=_FLUSH_DEADLINE)
        except BusError as error:
            # RFC 1985 5.2
            if isinstance(error, Refusal) and error.refused.code != 458:
                log.warning(f"reject: ETRN {event.domain[:100]}... from {self.client.identity}: {error}")
                self.machine.refuse(f"459 <{event.domain}>: service unavailable")
                return
            log.warning(f"fast flush service: {error}")
            self.machine.refuse("458 Unable to queue messages")
            return
        self.machine.accept()

    def _rewrite_context(self) -> "Steps[Literal['local', 'remote']]":
        """local_header_rewrite_clients."""
        domain = self.forwarded.get("SOURCE")
        if domain is not None:
            return "local" if domain == "local" else "remote"
        return (yield from self.server.rewrite_context(self.client))
