"""The program: what all its sessions share, and its place in the skeleton."""

import asyncio
import os
import ssl
import time
from collections.abc import Callable
from typing import Literal

from tubepost.common.mail import notice
from tubepost.common.mail.network import network_of
from tubepost.common.smtp import extensions
from tubepost.common.wire import verify
from tubepost.common.wire.cleanup import Deposit
from tubepost.common.system import log
from tubepost.common.tables import TableError
from tubepost.common.skeleton import stream
from tubepost.common.skeleton.authentication import Authenticator
from tubepost.common.skeleton.postmaster import Postmaster
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tables import table_environment
from tubepost.common.skeleton.tls import ServerTls

from tubepost.services.smtpd.counting import Anvil
from tubepost.services.smtpd.deposit import Message
from tubepost.services.smtpd.outside import Outside
from tubepost.services.smtpd.posting import Post
from tubepost.services.smtpd.restrictions.evaluation import Client
from tubepost.services.smtpd.session import Session
from tubepost.services.smtpd.settings import Settings
from tubepost.services.smtpd.steps import Steps

# statvfs once in so many seconds: the disk does not fill faster than that matters.
_SPACE_LIFETIME = 1.0
# Postfix: room for one and a half messages of the largest size.
_SPACE_FACTOR = 1.5
# A message takes some files of its own on its way; file systems that make them as they need count none.
_FILES = 100


class Smtpd(stream.Service):
    """One process, many sessions."""

    outside: Outside

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self.sessions: set[Session] = set()
        self.settings = Settings(process.config.myhostname)
        self.withheld: tuple[frozenset[str], bool] = (frozenset(), False)
        self.receive_options: frozenset[str] = frozenset()
        self._prober = self._prober_start = ""
        self.counts_clients = False
        self._space_checked = 0.0
        self._space = True
        self._hurry: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._environment = table_environment(self.process)
        self.outside = Outside(self.process, self._environment)
        self.cleanup = self.process.client(self.config.cleanup_service_name)
        self._postmaster = Postmaster(self.process, "SMTP server")
        self.anvil = Anvil(self.process)
        self.tls = ServerTls(self.process, "smtpd")
        self.auth = Authenticator(self.process, "smtp")
        self._take_config()
        self.process.on_stress.append(self._take_config)
        self._hurry = self.process.loop.create_task(self._watch())

    async def close(self) -> None:
        if self._hurry is not None:
            self._hurry.cancel()
        self.outside.close()
        self._environment.close()

    @property
    def busy(self) -> bool:
        return self._postmaster.busy

    def connected(self, peer: stream.Peer) -> asyncio.Protocol:
        session = Session(self, peer)
        self.sessions.add(session)
        return session

    def new_message(self, build: Callable[[bool], Deposit]) -> Message | Post:
        """The content of one message, on its way to where it is safe. See ``Message``."""
        return Message(self.cleanup, build)

    @property
    def guests(self) -> set[Session]:
        return self.sessions

    @property
    def farewell(self) -> bytes:
        if self.tls.wrapper:
            # Nothing can be said before TLS is there, and there is no slot for that.
            return b""
        # RFC 5321 3.8, 4.2.1: come again later.
        return f"421 4.3.2 {self.config.myhostname} Error: too many clients, come again later\r\n".encode()

    def wrapping(self) -> tuple[ssl.SSLContext | None, float] | None:
        return self.tls.wrapping()

    def forget(self, session: Session) -> None:
        """The session is over."""
        self.sessions.discard(session)
        self.ended()

    async def _watch(self) -> None:
        await self.process.hurried.wait()
        for session in tuple(self.sessions):
            session.hurry()

    def _take_config(self) -> None:
        """Read what a session needs; again when ``stress`` comes or goes."""
        self.config = config = self.process.config
        outside = self.outside
        outside.take_config(config)
        keywords, silent, unknown = extensions.parse_discard(" ".join(config.smtpd_discard_ehlo_keywords))
        for name in unknown:
            log.warning(f"smtpd_discard_ehlo_keywords: no such EHLO keyword: {name}")
        self.withheld = (keywords, silent)
        self.receive_options = frozenset(config.receive_override_options)
        self._prober = verify.probe_sender(config.address_verify_sender, 0, 0, config.myorigin)
        self._prober_start = self._prober.rpartition("@")[0].lower()
        self.counts_clients = bool(
            config.smtpd_client_connection_count_limit
            or config.smtpd_client_connection_rate_limit
            or config.smtpd_client_message_rate_limit
            or config.smtpd_client_recipient_rate_limit
            or config.smtpd_client_auth_rate_limit
            or config.smtpd_client_new_tls_session_rate_limit
        )
        self.settings = Settings(
            myhostname=config.myhostname,
            mail_name=config.mail_name,
            banner=config.smtpd_banner,
            message_size_limit=config.message_size_limit,
            line_length_limit=config.line_length_limit,
            recipient_limit=config.smtpd_recipient_limit,
            recipient_overshoot_limit=config.smtpd_recipient_overshoot_limit,
            soft_error_limit=config.smtpd_soft_error_limit,
            hard_error_limit=config.smtpd_hard_error_limit,
            junk_command_limit=config.smtpd_junk_command_limit,
            error_sleep_time=config.smtpd_error_sleep_time,
            helo_required=config.smtpd_helo_required,
            strict_rfc821_envelopes=config.strict_rfc821_envelopes,
            disable_vrfy_command=config.disable_vrfy_command,
            smtputf8_enable=config.smtputf8_enable,
            strict_smtputf8=config.strict_smtputf8,
            soft_bounce=config.soft_bounce,
            forbid_bare_newline=config.smtpd_forbid_bare_newline,
            forbid_bare_newline_reject_code=config.smtpd_forbid_bare_newline_reject_code,
            forbid_unauth_pipelining=config.smtpd_forbid_unauth_pipelining,
            replace_stray_cr=config.cleanup_replace_stray_cr_lf,
            history_flush_threshold=config.smtpd_history_flush_threshold,
            keep_history=notice.is_wanted(notice.CLASSES, config.notify_classes),
            # Where TLS is required no password goes before it either.
            tls_auth_only=config.smtpd_tls_auth_only or self.tls.required,
            sasl_response_limit=config.smtpd_sasl_response_limit,
            broken_sasl_auth_clients=config.broken_sasl_auth_clients,
            verp_delimiters=config.default_verp_delimiters,
            verp_delimiter_filter=config.verp_delimiter_filter,
            command_filter=self._filter_command if outside.command_filter else None,
            is_noop=self._is_noop if outside.noop_commands else None,
            is_forbidden=self._is_forbidden,
        )

    def prober(self, address: str) -> str:
        """The sender of our own probes (reject_unverified_recipient …) that this is one of, without its time; or "".

        Who is asked by us may ask back, and must not be refused then: both would remember the other as no good.
        """
        if not self._prober or not address.lower().startswith(self._prober_start):
            return ""
        config = self.config
        if verify.is_probe_sender(
            address, config.address_verify_sender, config.address_verify_sender_ttl, time.time(), config.myorigin
        ):
            return self._prober
        return ""

    def _filter_command(self, line: str) -> str | None:
        maps = self.outside.command_filter
        if not maps.immediate:
            raise LookupError("only tables of this machine can be used here")
        try:
            return maps.find(line)
        except TableError as error:
            raise LookupError(str(error)) from error

    def _is_noop(self, verb: str) -> bool:
        return self._is_named(self.outside.noop_commands.match_now, verb)

    def _is_forbidden(self, verb: str) -> bool:
        return self._is_named(self.outside.forbidden_commands.match_now, verb)

    def _is_named(self, match: Callable[[str], bool], verb: str) -> bool:
        try:
            return match(verb)
        except TableError as error:
            log.warning(str(error))
            return False

    def has_space(self) -> bool:
        """queue_minfree, and room for a message of the largest size."""
        now = time.monotonic()
        if now - self._space_checked < _SPACE_LIFETIME:
            return self._space
        self._space_checked = now
        config = self.config
        try:
            found = os.statvfs(".")
        except OSError as error:
            log.warning(f"cannot see how full the queue's disk is: {error}")
            self._space = True
            return True
        free = found.f_bavail * found.f_frsize
        needed = max(config.queue_minfree, config.message_size_limit * _SPACE_FACTOR)
        self._space = free > needed
        if found.f_files and found.f_favail < _FILES:
            self._space = False
            log.warning(f"not enough free space in mail queue: {found.f_favail} more files can be made")
        elif not self._space:
            log.warning(
                f"not enough free space in mail queue: {free} bytes < {_SPACE_FACTOR:g}*message size limit"
                if free > config.queue_minfree
                else f"not enough free space in mail queue: {free} bytes < queue_minfree"
            )
        return self._space

    def aggregate(self, address: str) -> str:
        """The client as anvil counts it: smtpd_client_ipv4_prefix_length, smtpd_client_ipv6_prefix_length."""
        config = self.config
        return network_of(address, config.smtpd_client_ipv4_prefix_length, config.smtpd_client_ipv6_prefix_length)

    def rewrite_context(self, client: Client) -> Steps[Literal["local", "remote"]]:
        """local_header_rewrite_clients: may this client's header addresses be completed with our domain?

        Raises TableError.
        """
        outside = self.outside
        certificate = client.agreed.certificate if client.agreed is not None else None
        for word in self.config.local_header_rewrite_clients:
            match word.lower():
                case "permit_inet_interfaces":
                    found = client.address in outside.own_addresses
                case "permit_mynetworks":
                    if outside.mynetworks.immediate:
                        found = outside.mynetworks.match_now(client.name, client.address)
                    else:
                        found = yield outside.mynetworks.match(client.name, client.address)
                case "permit_sasl_authenticated":
                    found = bool(client.user)
                case "permit_tls_all_clientcerts":
                    found = certificate is not None and certificate.verified
                case "permit_tls_clientcerts":
                    found = certificate is not None and (yield outside.knows_certificate(certificate))
                case "check_address_map":
                    # Only says that a table follows.
                    continue
                case _ if ":" in word:
                    found = (yield outside.table(word).lookup(client.address)) is not None
                case _:
                    log.warning(f"local_header_rewrite_clients: there is no {word}")
                    continue
            if found:
                return "local"
        return "remote"

    async def notify(self, client: str, troubles: frozenset[str], transcript: list[str], reason: str) -> None:
        """Mail the transcript to the postmaster where notify_classes asks for it."""
        await self._postmaster.tell(client, troubles, transcript, reason)
