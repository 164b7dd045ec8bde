"""TLS of a server program: its certificates, what its clients are offered, and the lines in the log.

A program does so::

    life.run("imapd", stream.serve(Imapd), birth, prepare=tls.prepare("imapd"))
    …
    self.tls = tls.ServerTls(process, "imapd")  # in open()
    if self.tls.offered: …announce STARTTLS…
    agreed = await self.tls.upgrade_channel(channel, client, b"+OK begin\\r\\n")  # STARTTLS

Where TLS begins with the connection (``wrapping``) the session begins after the handshake, and asks ``accepted``; or
its ``handshake_failed`` is called, and it tells ``failed``.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from tubepost.common.system import log
from tubepost.common.config import Config
from tubepost.common.net import tls
from tubepost.common.net.certificates import ServerCertificates
from tubepost.common.net.servernames import Find
from tubepost.common.net.streams import Channel
from tubepost.common.net.tls import Agreed, HandshakeError
from tubepost.common.tables import TableEnvironment, TableError, lmdb
from tubepost.common.tables.hash import SUFFIXES
from tubepost.common.tables.maps import Maps
from tubepost.common.tables.table import Broken
from tubepost.common.skeleton.process import Process


def prepare(prefix: str) -> Callable[[Config], ServerCertificates | None]:
    """For ``life.run(prepare=…)``: reads private keys while that is possible."""

    def load(config: Config) -> ServerCertificates | None:
        if not config.tls_server_sni_maps or not tls.server_settings(config, prefix).offered:
            return tls.server_certificates(config, prefix)
        find, files = _by_name(config)
        return tls.server_certificates(config, prefix, find, files)

    return load


def _by_name(config: Config) -> tuple[Find, list[str]]:
    """tls_server_sni_maps, opened, and the files that it is made of. Raises ConfigError."""
    files: list[str] = []
    environment = TableEnvironment(
        config_directory=config.config_directory,
        accounts_directory=config.accounts_directory,
        default_type=config.default_database_type,
        files=files,
    )
    maps = Maps(config.tls_server_sni_maps, environment, title="tls_server_sni_maps")
    for table in maps.tables:
        # The handshake, which belongs to the library, cannot be made to wait for an answer from elsewhere.
        if not table.immediate and not isinstance(table, Broken):
            raise config.bad_value(
                "tls_server_sni_maps", f"{table.spec} answers over a connection: use a table on this machine"
            )
        name = table.name + {**SUFFIXES, "lmdb": lmdb.SUFFIX}.get(table.kind, "")
        if name.startswith("/"):
            files.append(name)

    def find(key: str) -> str | None:
        try:
            return maps.find(key)
        except TableError as error:
            raise LookupError(str(error)) from None

    return find, files


class ServerTls:
    """``prefix``: of the parameters, ``<prefix>_tls_…``. Raises ConfigError."""

    def __init__(self, process: Process, prefix: str) -> None:
        self._process = process
        self._prefix = prefix
        self.settings = tls.server_settings(process.config, prefix)
        self._certificates = cast("ServerCertificates | None", process.prepared)
        process.on_stress.append(self._take_config)

    def _take_config(self) -> None:
        self.settings = tls.server_settings(self._process.config, self._prefix)

    @property
    def offered(self) -> bool:
        """STARTTLS is to be announced on connections that have no TLS."""
        return self._certificates is not None and not self.settings.wrapper

    @property
    def required(self) -> bool:
        return self.settings.level == "encrypt"

    @property
    def wrapper(self) -> bool:
        """TLS begins with the connection."""
        return self.settings.wrapper

    def context(self) -> ssl.SSLContext | None:
        """For the next connection. None: TLS is not available due to a local problem, which was logged."""
        certificates = self._certificates
        if certificates is None:
            return None
        context = certificates.context()
        if certificates.stale:
            self._process.retire()
        return context

    def wrapping(self) -> tuple[ssl.SSLContext | None, float] | None:
        """For ``stream.Service.wrapping``."""
        return (self.context(), self.settings.timeout) if self.wrapper else None

    def accepted(self, transport: asyncio.BaseTransport, client: str) -> Agreed:
        """In wrapper mode: what was agreed on before the session began, logged."""
        agreed = tls.agreed(transport, self.settings.digest)
        self._log_agreed(client, agreed, transport)
        return agreed

    def failed(self, client: str, error: HandshakeError) -> None:
        """In wrapper mode: log that the handshake failed."""
        self._log_failure(client, error)

    def binding(self, transport: asyncio.BaseTransport | None) -> bytes:
        """tls-server-end-point data of a connection that has TLS; empty where there is none."""
        if self._certificates is None or transport is None:
            return b""
        inner = tls.ssl_object(transport)
        return self._certificates.binding(inner.context) if inner is not None else b""

    async def upgrade(
        self, transport: asyncio.Transport, protocol: asyncio.Protocol, client: str
    ) -> tuple[asyncio.Transport, Agreed]:
        """The handshake as server, with its log lines; ``client`` as ``name[address]``. What was received in the clear
        must have been thrown away (RFC 3207 4.2). Raises HandshakeError, logged, with the connection aborted.
        """
        context = self.context()
        settings = self.settings
        if context is None:
            transport.abort()
            raise HandshakeError("no certificate can be used")
        if settings.loglevel:
            log.info(f"setting up TLS connection from {client}")
        try:
            made = await tls.upgrade(transport, protocol, context, server_side=True, timeout=settings.timeout)
        except HandshakeError as error:
            self._log_failure(client, error)
            raise
        agreed = tls.agreed(made, settings.digest)
        self._log_agreed(client, agreed, made)
        return made, agreed

    async def upgrade_channel(self, channel: Channel, client: str, reply: bytes = b"") -> Agreed:
        """The same for a program whose sessions are Channels. ``reply``: to STARTTLS, the last in the clear."""
        context = self.context()
        settings = self.settings
        if context is None:
            channel.abort()
            raise HandshakeError("no certificate can be used")
        if settings.loglevel:
            log.info(f"setting up TLS connection from {client}")
        try:
            agreed = await channel.start_tls(
                context, server_side=True, timeout=settings.timeout, digest=settings.digest, reply=reply
            )
        except HandshakeError as error:
            self._log_failure(client, error)
            raise
        assert channel.transport is not None
        self._log_agreed(client, agreed, channel.transport)
        return agreed

    def _log_failure(self, client: str, error: HandshakeError) -> None:
        log.info(f"SSL_accept error from {client}: {error.cause}")
        if error.detail:
            log.warning(f"TLS library problem: {error.detail}")

    def _log_agreed(self, client: str, agreed: Agreed, transport: asyncio.BaseTransport) -> None:
        names = self._certificates.names if self._certificates is not None else None
        asked = ""
        if names is not None:
            connection = tls.ssl_object(transport)
            asked = names.named(connection)
            complaint = names.complaint(connection, client)
            if complaint:
                log.info(complaint)
        if not self.settings.loglevel:
            return
        certificate = agreed.certificate
        if certificate is not None and self.settings.loglevel > 1:
            log.info(
                f"{client}: {'Trusted' if certificate.verified else 'Untrusted'}: "
                f"subject_CN={certificate.subject}, issuer={certificate.issuer}, "
                f"fingerprint={certificate.fingerprint}, pkey_fingerprint={certificate.public_key_fingerprint}"
            )
        word = "Anonymous" if certificate is None else "Trusted" if certificate.verified else "Untrusted"
        resumed = " reused" if agreed.resumed else ""
        log.info(f"{word} TLS connection{resumed} established from {client}{f' to {asked}' if asked else ''}: {agreed}")
