"""One authentication: drives a mechanism's machine, has its questions answered, and says how it ended."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tubepost.common.sasl.steps import (
    Accepted,
    Answer,
    Challenge,
    NeedKeys,
    Rejected,
    Server,
    Step,
    VerifyExternal,
    VerifyPassword,
    VerifyToken,
)
from tubepost.common.wire import auth
from tubepost.common.wire.auth import Begin, Cause, Failure, Success, User
from tubepost.common.system import log
from tubepost.common.accounts.names import fold_name

from tubepost.services.auth.backends.base import Account, Context, Unavailable, Verdict
from tubepost.services.auth.chain import Chain
from tubepost.services.auth.protocol import Penalties
from tubepost.services.auth.users import Users

_DATA_LIMIT = 65_536
Reply = auth.Challenge | Success | Failure

TokenCheck = Callable[[str, str], Awaitable[str | None]]
"""``await check(token, hint)``: the login that a token is of; None: it is not valid. Raises Unavailable."""

_TEXTS: dict[Cause, str] = {
    "credentials": "authentication failed",
    "disabled": "the account is disabled",
    "expired": "the password or the account has expired",
    "plaintext": "encrypt the connection first",
    "mechanism": "no such mechanism here",
    "protocol": "the authentication data was not understood",
    "scope": "this password is not for this service",
    "delayed": "too many failures, try again later",
    "temporary": "temporary authentication failure",
}
_CAUSES: dict[Verdict, Cause] = {
    Verdict.DISABLED: "disabled",
    Verdict.EXPIRED: "expired",
    Verdict.SCOPE: "scope",
}


@dataclass(frozen=True, slots=True)
class Court:
    """What every exchange works with."""

    chain: Chain
    users: Users
    penalties: Penalties
    digest: Callable[[str], bytes]
    clock: Callable[[], float]
    separator: str
    token: TokenCheck | None
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep


def failure(cause: Cause) -> Failure:
    return Failure(cause=cause, text=_TEXTS[cause])


class Exchange:
    """``respond`` may not be called again before it has returned."""

    __slots__ = (
        "_account",
        "_begin",
        "_cause",
        "_context",
        "_court",
        "_machine",
        "_note",
        "_reason",
        "_tried",
        "_whole",
        "begun",
        "busy",
    )

    def __init__(self, court: Court, begin: Begin, machine: Server) -> None:
        self._court = court
        self._begin = begin
        self._machine = machine
        self._context = Context(begin.scope, begin.service, begin.client, begin.local, begin.tls)
        self.begun = court.clock()
        self.busy = False
        self._reason = ""
        self._note = ""
        self._cause: Cause = "credentials"
        self._account: Account | None = None
        self._whole = False
        # (account, secret as it was tried) for the table of failures.
        self._tried = ("", "")

    async def start(self) -> Reply:
        initial = self._begin.initial
        if initial is not None and len(initial) > _DATA_LIMIT:
            return self._failed("protocol", "the initial response is too long")
        return await self._run(lambda: self._machine.begin(initial))

    async def respond(self, data: bytes) -> Reply:
        if len(data) > _DATA_LIMIT:
            return self._failed("protocol", "the response is too long")
        return await self._run(lambda: self._machine.respond(data))

    async def _run(self, first: Callable[[], Step]) -> Reply:
        self.busy = True
        try:
            step = first()
            if isinstance(step, Challenge):
                return auth.Challenge(data=step.data)
            if isinstance(step, Rejected) and step.cause == "protocol":
                return self._failed("protocol", step.text)
            return await self._judge(step)
        except Unavailable as error:
            log.warning(f"auth: {error}")
            return self._failed("temporary", "a backend cannot tell now")
        finally:
            self.busy = False

    async def _judge(self, step: Step) -> Reply:
        """From a question, or the last answer of the client, to a reply; wrong ones take their time."""
        name = self._name(step)
        court = self._court
        hold = court.penalties.hold(self._begin.client, name, court.clock())
        if hold is None:
            return self._failed("delayed", "too many tries under way")
        try:
            while isinstance(step, VerifyPassword | NeedKeys | VerifyToken | VerifyExternal):
                step = self._machine.verified(await self._answer(step))
            if isinstance(step, Challenge):
                # SCRAM's first answer, or the error document of OAUTHBEARER, whose failure follows.
                return auth.Challenge(data=step.data)
            if isinstance(step, Accepted):
                ended = await self._accepted(step)
                if isinstance(ended, Success):
                    for who in (self._tried[0], name) if ended.login else (self._tried[0],):
                        court.penalties.succeeded(self._begin.client, who, court.clock())
                return ended
            if step.cause == "protocol":
                return self._failed("protocol", step.text)
            tried = self._tried[1] or str(court.clock())
            delay = court.penalties.failed(hold, court.digest(f"{name}\0{tried}"), court.clock())
            reply = self._failed(self._cause, self._reason or step.text)
            if delay > 0:
                await court.pause(delay)
            return reply
        finally:
            court.penalties.release(hold)

    def _name(self, step: Step) -> str:
        """Whom a failure of this step is counted against."""
        if isinstance(step, VerifyPassword):
            name = self._court.chain.name_of(step.login)
            self._tried = (name, step.password)
            if master := self._actors(step.login, step.authzid)[1]:
                # It is the master's password that is guessed, whoever else is named.
                return f"master {fold_name(master)}"
        elif isinstance(step, NeedKeys):
            self._tried = (self._court.chain.name_of(step.login), "")
        elif isinstance(step, VerifyToken):
            self._tried = (self._court.chain.name_of(step.authzid) if step.authzid else "", step.token)
        elif isinstance(step, VerifyExternal):
            self._tried = (self._court.chain.name_of(self._begin.certificate_name), "")
        return self._tried[0]

    # -- questions ---------------------------------------------------------------------------------------------------

    async def _answer(self, question: VerifyPassword | NeedKeys | VerifyToken | VerifyExternal) -> Answer:
        """Raises Unavailable."""
        chain = self._court.chain
        if isinstance(question, VerifyPassword):
            return await self._password(question)
        if isinstance(question, NeedKeys):
            keys = await chain.keys(chain.name_of(question.login), question.scheme)
            self._reason = "unknown user, or no key of this kind is stored" if keys is None else "wrong password"
            return keys
        if isinstance(question, VerifyToken):
            self._reason = "the token is not valid"
            if self._court.token is None:
                return None
            return await self._court.token(question.token, question.authzid)
        self._reason = "no verified certificate"
        return self._begin.certificate_name or None

    async def _password(self, question: VerifyPassword) -> bool:
        chain = self._court.chain
        _, master = self._actors(question.login, question.authzid)
        if master:
            self._reason = "wrong password of the master user, or there is no such"
            return await chain.verify_master(master, question.password, self._context)
        result = await chain.verify(chain.name_of(question.login), question.password, self._context)
        self._reason = f"{result.verdict.value}{f' ({result.note})' if result.note else ''}"
        self._note = result.note
        self._cause = _CAUSES.get(result.verdict, "credentials")
        self._account = result.account
        self._whole = result.whole
        return result.verdict is Verdict.RIGHT

    def _actors(self, login: str, authzid: str) -> tuple[str, str]:
        """(account, master user who acts as it, or empty): by ``user*master``, or by the authorization identity."""
        chain, separator = self._court.chain, self._court.separator
        if separator and separator in login:
            user, _, master = login.rpartition(separator)
            return chain.name_of(user), master
        if authzid and chain.name_of(authzid) != chain.name_of(login):
            return chain.name_of(authzid), login
        return chain.name_of(login), ""

    # -- the end -----------------------------------------------------------------------------------------------------

    async def _accepted(self, step: Accepted) -> Reply:
        """Raises Unavailable."""
        name, master = self._actors(step.login, step.authzid)
        if master and self._machine.name not in ("PLAIN", "LOGIN"):
            # Only a master user's password shows that it is one.
            return self._failed("credentials", f"{step.login} may not act as {name}")
        account = self._account if self._whole else await self._court.chain.user(name)
        if account is None:
            account = self._account or (None if master or self._knows_all() else Account(name))
        if account is None:
            return self._failed("credentials", "unknown user")
        if not account.enabled:
            return self._failed("disabled", "the account is disabled")
        user = await self._court.users.complete(account)
        self._tried = (user.name, self._tried[1])
        self._log_success(user, master)
        return Success(user=user, data=step.data, login=master)

    def _knows_all(self) -> bool:
        """Every backend can tell whether a user exists: then one that none knows is none."""
        return all(backend.has_users for backend in self._court.chain.backends)

    def _log_success(self, user: User, master: str) -> None:
        begin = self._begin
        words = [f"login: user=<{user.name}>", f"method={begin.mechanism}", f"scope={begin.scope}"]
        words.append(f"client={begin.client or 'local'}")
        words += [f"master=<{master}>"] if master else []
        words += ["TLS"] if begin.tls else []
        words += [self._note] if self._note else []
        log.info(", ".join(words))

    def _failed(self, cause: Cause, reason: str) -> Failure:
        begin = self._begin
        who = f"user=<{self._tried[0]}>, " if self._tried[0] else ""
        log.info(
            f"authentication failed: {who}method={begin.mechanism}, scope={begin.scope}, "
            f"client={begin.client or 'local'}, reason={reason}"
        )
        return failure(cause)
