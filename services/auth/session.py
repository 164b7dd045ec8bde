"""Answers the bus: mechanisms, exchanges, look-ups."""

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Mapping

from tubepost.common.sasl.mechanisms import SERVERS, ServerSettings, make_server
from tubepost.common.wire.auth import Begin, Challenge, Continue, Forget, Lookup, Mechanisms, Offer, User
from tubepost.common.wire.base import Message, Refused
from tubepost.common.system import atomic, log
from tubepost.common.accounts.hashing import cost_of
from tubepost.common.accounts.names import strip_extension
from tubepost.common.bus import Handler, Request
from tubepost.common.bus.identity import Caller
from tubepost.common.config import Config
from tubepost.common.skeleton import request
from tubepost.common.skeleton.process import Process
from tubepost.common.skeleton.tables import table_environment

from tubepost.services.auth import oauth
from tubepost.services.auth.backends import registry
from tubepost.services.auth.backends.base import Unavailable
from tubepost.services.auth.chain import Chain
from tubepost.services.auth.exchange import Court, Exchange, Reply, failure
from tubepost.services.auth.exchanges import Exchanges, Key
from tubepost.services.auth.hashing import Hasher
from tubepost.services.auth.protocol import Abilities, Line, Penalties, offered, refused
from tubepost.services.auth.users import Users

_TEND_INTERVAL = 10.0
_NONCE = 18


class Auth(request.Service):
    stays = True

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        config = self.config
        self._wanted = tuple(name.upper() for name in config.auth_mechanisms)
        if unknown := [name for name in self._wanted if name not in SERVERS]:
            raise config.bad_value(
                "auth_mechanisms", f"{unknown[0]} is not a mechanism: choose of {', '.join(SERVERS)}"
            )
        self._hasher = Hasher(config.auth_hash_threads, cost_of(config), config.auth_cache_time)
        self._tables = table_environment(process)
        self._chain = Chain(
            registry.make(config.auth_backends, config, self._hasher, "auth_backends"),
            registry.make(config.auth_master_backends, config, self._hasher, "auth_master_backends"),
            self._hasher,
            default_domain=config.auth_default_domain,
        )
        self._tokens = oauth.Tokens(config, self._chain.name_of) if oauth.is_configured(config) else None
        self._delimiter = config.recipient_delimiter
        self._plaintext = not config.disable_plaintext_auth
        self._exchanges: Exchanges[Exchange] = Exchanges(config.auth_exchange_limit)
        self._court = Court(
            chain=self._chain,
            users=Users(config, self._tables),
            penalties=Penalties(config.auth_failure_delay, config.auth_failure_delay_max, config.auth_failure_memory),
            digest=self._hasher.digest,
            clock=time.monotonic,
            separator=config.auth_master_user_separator,
            token=self._tokens.check if self._tokens is not None else None,
        )
        self._abilities = Abilities(
            passwords=any(backend.has_passwords for backend in self._chain.backends),
            scram=self._chain.has_scram,
            clear=self._chain.has_clear,
            tokens=self._court.token is not None,
        )
        self._secret = b""
        self._retired = False

    async def open(self) -> None:
        self._secret = _secret(self.config)
        for backend in self._chain.backends:
            try:
                await backend.open()
            except Unavailable as error:
                log.warning(str(error))
        self.process.spawn(asyncio.create_task(self._tend()))

    async def close(self) -> None:
        await self._chain.close()
        self._hasher.close()
        self._tables.close()

    @property
    def handlers(self) -> Mapping[type[Message], Handler]:
        return {
            Mechanisms: self._mechanisms,
            Begin: self._begin,
            Continue: self._continue,
            Forget: self._forget,
            Lookup: self._lookup,
        }

    # -- exchanges ---------------------------------------------------------------------------------------------------

    def _mechanisms(self, asked: Request[Mechanisms]) -> Offer:
        m = asked.message
        line = Line(m.scope, m.client, m.tls, m.binding, m.certificate)
        return Offer(mechanisms=offered(self._wanted, line, self._abilities, plaintext=self._plaintext))

    async def _begin(self, asked: Request[Begin]) -> Reply:
        begin = asked.message
        key = asked.caller.pid, begin.exchange
        name = begin.mechanism.upper()
        line = Line(begin.scope, begin.client, begin.tls, bool(begin.binding), bool(begin.certificate_name))
        if name not in self._wanted:
            return failure("mechanism")
        if cause := refused(name, line, self._abilities, plaintext=self._plaintext):
            return failure("plaintext" if cause == "plaintext" else "mechanism")
        if self._exchanges.get(key) is not None:
            return failure("protocol")
        if not self._exchanges.has_room(asked.caller.pid):
            log.warning(
                f"{len(self._exchanges)} authentications under way (auth_exchange_limit): "
                f"no more are begun by process {asked.caller.pid}"
            )
            return failure("temporary")
        nonce = secrets.token_urlsafe(_NONCE)
        plus = f"{name.removesuffix('-PLUS')}-PLUS"
        machine = make_server(
            name,
            ServerSettings(
                nonce=nonce,
                secret=self._secret,
                iterations=self.config.auth_scram_iterations,
                binding=begin.binding,
                plus_offered=plus in self._wanted and not refused(plus, line, self._abilities, plaintext=True),
                oauth_scope=" ".join(self.config.oauth_scopes),
                oauth_configuration=self.config.oauth_openid_configuration_url,
                challenge=f"<{nonce}.{int(time.time())}@{self.config.myhostname}>".encode(),
            ),
        )
        exchange = Exchange(self._court, begin.model_copy(update={"mechanism": name}), machine)
        self._exchanges.add(key, exchange)
        return await self._drive(key, exchange, exchange.start())

    async def _continue(self, asked: Request[Continue]) -> Reply:
        key = asked.caller.pid, asked.message.exchange
        exchange = self._exchanges.get(key)
        if exchange is None or exchange.busy:
            return failure("protocol")
        if asked.message.data is None:
            # RFC 4422 3.5: the client gave up.
            self._exchanges.remove(key)
            return failure("protocol")
        return await self._drive(key, exchange, exchange.respond(asked.message.data))

    async def _drive(self, key: Key, exchange: Exchange, work: Awaitable[Reply]) -> Reply:
        try:
            reply = await work
        except BaseException:
            self._exchanges.remove(key)
            raise
        if not isinstance(reply, Challenge):
            if self._exchanges.get(key) is exchange:
                self._exchanges.remove(key)
            if not self._retired and any(backend.worn for backend in self._chain.backends):
                self._retired = True
                log.warning("a backend hangs: a new process takes over")
                self.process.retire()
        return reply

    def _forget(self, asked: Request[Forget]) -> None:
        self._exchanges.remove((asked.caller.pid, asked.message.exchange))

    def caller_gone(self, caller: Caller) -> None:
        self._exchanges.gone(caller.pid)

    # -- users -------------------------------------------------------------------------------------------------------

    async def _lookup(self, asked: Request[Lookup]) -> User | Refused:
        name = self._chain.name_of(asked.message.name)
        try:
            account = await self._chain.user(name)
            if account is None and (short := strip_extension(name, self._delimiter)) != name:
                account = await self._chain.user(short)
            if account is None:
                return Refused(code=550, dsn="5.1.1", reason="there is no such user")
            return await self._court.users.complete(account)
        except Unavailable as error:
            log.warning(f"look-up of {name}: {error}")
            return Refused(code=451, dsn="4.3.0", reason="it cannot be told now whether there is such a user")

    # -- time --------------------------------------------------------------------------------------------------------

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(_TEND_INTERVAL)
            now = time.monotonic()
            self._court.penalties.forget(now)
            self._exchanges.forget(now - self.config.auth_exchange_timeout)
            for backend in self._chain.backends:
                await backend.tend()


def _secret(config: Config) -> bytes:
    """Unknown users' SCRAM salts are made of it: they must not change with a restart."""
    path = os.path.join(config.auth_directory, "secret")
    try:
        with open(path, "rb") as file:
            found = file.read(64)
        if len(found) == 32:
            return found
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning(f"{path}: {error.strerror}")
    made = secrets.token_bytes(32)
    try:
        atomic.write_file(path, made, 0o600)
    except OSError as error:
        log.warning(f"{path}: cannot be written ({error.strerror}); until the next start another one is used")
    return made
