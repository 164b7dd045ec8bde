"""TLS and passwords of one program: contexts made once a policy, the tables asked, and the words of the log."""

import secrets
import ssl
import time
from dataclasses import dataclass, replace

from cryptography import x509

from tubepost.common.system import log
from tubepost.common.config import Config
from tubepost.common.net import certificates, tls
from tubepost.common.net.certificates import Chain
from tubepost.common.net.tls import Agreed, HandshakeError
from tubepost.common.tables import Maps, TableEnvironment
from tubepost.common.tables import address as search

from tubepost.services.smtp import policy as policies
from tubepost.services.smtp.handshake import Login, Security
from tubepost.services.smtp.policy import Defaults, Policy, PolicyError
from tubepost.services.smtp.routing import Target
from tubepost.services.smtp.server import Server

# Contexts by policy; a table that makes a new policy for each destination must not fill memory.
_CONTEXTS_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Need:
    """What a connection for one delivery must have; one that is kept serves only a need that is the same."""

    policy: Policy
    sender_login: str = ""
    """``user:password`` by the sender."""


@dataclass(slots=True)
class Handshake:
    """What a connection is to do about TLS."""

    keeper: "Keeper"
    policy: Policy
    nexthop: str

    @property
    def timeout(self) -> float:
        return self.keeper.timeout


def prepare(config: Config, *, lmtp: bool = False) -> tuple[Chain, ...]:
    """This client's own keys and certificates, read while that is possible. None where there is trouble, logged."""
    settings = config.as_lmtp() if lmtp else config
    files = settings.smtp_tls_chain_files
    if not files and settings.smtp_tls_cert_file:
        files = tuple(dict.fromkeys((settings.smtp_tls_key_file, settings.smtp_tls_cert_file)))
    if not files:
        return ()
    try:
        pem = certificates.read_files(files)
        if not settings.smtp_tls_chain_files:
            pem = certificates.key_first(pem)
        return certificates.parse_chains(pem, " ".join(files))
    except (OSError, certificates.CertificateError) as error:
        log.warning(f"no client certificate: {error}")
        return ()


class Keeper:
    """One a program. ``chains``: of ``prepare``. Raises ConfigError."""

    def __init__(self, config: Config, environment: TableEnvironment, chains: tuple[Chain, ...], *, lmtp: bool) -> None:
        self._config = config
        self._chains = chains
        prefix = "lmtp" if lmtp else "smtp"
        self._policies = Maps(config.smtp_tls_policy_maps, environment, title=f"{prefix}_tls_policy_maps")
        self._passwords = Maps(config.smtp_sasl_password_maps, environment, title=f"{prefix}_sasl_password_maps")
        self._by_sender = config.smtp_sender_dependent_authentication and not lmtp
        self._login = config.smtp_sasl_auth_enable
        self.timeout: float = config.smtp_starttls_timeout
        self.loglevel: int = config.smtp_tls_loglevel
        self.digest: str = config.smtp_tls_fingerprint_digest
        self._contexts: dict[Policy, ssl.SSLContext] = {}
        self._anchors: dict[bytes, list[x509.Certificate]] | None = None
        self.defaults = Defaults(
            level=config.smtp_tls_security_level,
            protocols=config.smtp_tls_protocols,
            mandatory_protocols=config.smtp_tls_mandatory_protocols,
            ciphers=config.smtp_tls_ciphers,
            mandatory_ciphers=config.smtp_tls_mandatory_ciphers,
            excluded=config.smtp_tls_exclude_ciphers,
            mandatory_excluded=config.smtp_tls_mandatory_exclude_ciphers,
            verify_matches=config.smtp_tls_verify_cert_match,
            secure_matches=config.smtp_tls_secure_cert_match,
            fingerprints=config.smtp_tls_fingerprint_cert_match,
            wrapper=config.smtp_tls_wrappermode,
            several=config.tls_wildcard_matches_multiple_labels,
        )
        self._default = self.defaults.policy()
        try:
            certificates.fingerprint(b"", self.digest)
        except ValueError:
            raise config.bad_value("smtp_tls_fingerprint_digest", f'"{self.digest}" is no digest') from None
        for name in ("smtp_tls_protocols", "smtp_tls_mandatory_protocols"):
            try:
                tls.parse_protocols(getattr(config, name))
            except ValueError as error:
                raise config.bad_value(name, str(error)) from None

    # -- what a delivery needs -----------------------------------------------------------------------------------------

    async def need(self, target: Target, sender: str) -> Need:
        """Raises TableError, PolicyError."""
        login = ""
        if self._login and self._by_sender and sender:
            found = await search.find(self._passwords, sender, delimiter=self._config.recipient_delimiter)
            login = found.value if found is not None else ""
        if not self._policies:
            return Need(self._default, login) if login else self._plain_need
        for key in policies.lookup_keys(target.text):
            value = await self._policies.lookup(key)
            if value is not None:
                try:
                    return Need(policies.parse(value, self.defaults), login)
                except PolicyError as error:
                    raise PolicyError(f"{self._policies.title}: {key}: {error}") from None
        return Need(self._default, login)

    @property
    def _plain_need(self) -> Need:
        return Need(self._default)

    async def security(self, need: Need, target: Target, server: Server, *, plain: bool) -> Security:
        """For a new connection. ``plain``: TLS has just failed, and may be left out. Raises TableError."""
        policy = need.policy
        return Security(
            wanted=policy.wanted and not plain and not policy.wrapper,
            required=policy.required,
            note_offer=self._config.smtp_tls_note_starttls_offer,
            login=await self._find_login(need, target, server),
        )

    async def _find_login(self, need: Need, target: Target, server: Server) -> Login | None:
        config = self._config
        if not self._login:
            return None
        text: str | None = need.sender_login
        if not text:
            for key in (server.host, target.text):
                text = await self._passwords.lookup(key) if key else None
                if text:
                    break
        user, password = policies.parse_password(text) if text else ("", "")
        if not user:
            return None
        allowed = config.smtp_sasl_mechanism_filter
        return Login(
            user=user,
            password=password,
            nonce=secrets.token_urlsafe(18),
            plain_options=config.smtp_sasl_security_options,
            tls_options=config.smtp_sasl_tls_security_options,
            verified_options=config.smtp_sasl_tls_verified_security_options,
            allowed=frozenset(name.upper() for name in allowed) if allowed else None,
            soft_bounce=config.smtp_sasl_auth_soft_bounce,
        )

    # -- the handshake -------------------------------------------------------------------------------------------------

    def context(self, policy: Policy) -> ssl.SSLContext:
        """Raises ValueError, CertificateError: a mistake in the configuration."""
        # Names are compared by ``policy``, not by the library: a context, with its authorities, serves them all.
        policy = replace(policy, matches=(), servername="", reuse=None, several=False)
        context = self._contexts.get(policy)
        if context is not None:
            return context
        config = self._config
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The library checks the chain only.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED if policy.trusting else ssl.CERT_NONE
        # Who does not ask for a certificate from an authority may as well have none at all.
        anonymous = not policy.verifies and not policy.required
        tls.limit(
            context, policy.protocols, tls.cipher_list(config, policy.ciphers, policy.excluded, anonymous=anonymous)
        )
        if policy.trusting:
            own = bool(config.smtp_tls_CAfile or config.smtp_tls_CApath)
            tls.load_authorities(
                context,
                config.smtp_tls_CAfile,
                config.smtp_tls_CApath,
                default=config.tls_append_default_CA or not own,
            )
        for chain in self._chains:
            certificates.load_chain(context, chain)
        if len(self._contexts) >= _CONTEXTS_LIMIT:
            self._contexts.clear()
        self._contexts[policy] = context
        return context

    def server_name(self, policy: Policy, server: Server, nexthop: str) -> str | None:
        """For SNI (smtp_tls_servername)."""
        word = policy.servername or self._config.smtp_tls_servername
        name = {"": "", "hostname": server.host, "nexthop": nexthop}.get(word, word)
        return name or None

    def log_begin(self, server: Server) -> None:
        if self.loglevel:
            log.info(f"setting up TLS connection to {server.relay}")

    def log_failure(self, server: Server, error: HandshakeError) -> None:
        if error.verification:
            log.info(f"certificate verification failed for {server.relay}: {error.detail}")
            return
        log.info(f"SSL_connect error to {server.relay}: {error.cause}")
        if error.detail:
            log.warning(f"TLS library problem: {error.detail}")

    def log_agreed(self, server: Server, agreed: Agreed, word: str) -> None:
        if self.loglevel:
            log.info(f"{word} TLS connection established to {server.relay}: {agreed}")

    def is_trusted(self, chain: list[bytes]) -> bool:
        """For the log: does it lead to an authority of smtp_tls_CAfile?"""
        if self._anchors is None:
            self._anchors = {}
            if self._config.smtp_tls_CAfile:
                try:
                    pem = certificates.read_files([self._config.smtp_tls_CAfile])
                    for certificate in x509.load_pem_x509_certificates(pem):
                        self._anchors.setdefault(certificate.subject.public_bytes(), []).append(certificate)
                except (OSError, ValueError, certificates.CertificateError) as error:
                    log.warning(f"cannot read {self._config.smtp_tls_CAfile}: {error}")
        return bool(self._anchors) and certificates.issued_by_trusted(chain, self._anchors, time.time())
