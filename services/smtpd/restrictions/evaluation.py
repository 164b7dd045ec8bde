"""One session's judgement in progress: who and what is judged, what was decided, what is to be done besides.

One list is judged at a time. A rejection is a reply in ``reply``; the words of its log line are Postfix's.
"""

import re
from dataclasses import dataclass, field

from tubepost.common.mail import dsn as status_codes
from tubepost.common.net.tls import Agreed

from tubepost.services.smtpd.restrictions.words import DUNNO, OK, REJECT
from tubepost.services.smtpd.restrictions.world import World

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_REPLY_LIMIT = 510
# Troubles that are ours: warn_if_reject does not make them harmless.
_OURS = frozenset({"software", "resource", "data"})


class Stop(Exception):
    """The judgement ends here: ``Evaluation.reply`` says why (a table that cannot tell, a mistake in main.cf)."""


class HangUp(Exception):
    """The HANGUP action: not even a reply."""


@dataclass(slots=True)
class Client:
    """Who is judged. ``name_status`` and ``reverse_status``: "ok", "perm" (there is no such name), "temp",
    or for the former "other": the name has addresses, but not this one."""

    address: str
    port: str = "unknown"
    name: str = "unknown"
    reverse_name: str = "unknown"
    name_status: str = "perm"
    reverse_status: str = "perm"
    local_address: str = ""
    local_port: str = ""
    with_port: bool = False
    agreed: Agreed | None = None
    """What TLS has agreed on; None: there is no TLS."""
    user: str = ""
    """Who has authenticated (sasl_username); empty: nobody."""
    method: str = ""

    @property
    def identity(self) -> str:
        """``name[address]``, as log lines have it."""
        return f"{self.name}[{self.address}]:{self.port}" if self.with_port else f"{self.name}[{self.address}]"


@dataclass(slots=True)
class Deferral:
    trouble: str
    code: int
    status: str
    text: str


@dataclass(slots=True)
class Effects:
    """What actions ask for besides yes or no; gathered over a message."""

    content_filter: str = ""
    redirect: str = ""
    hold: bool = False
    discard: bool = False
    bcc: list[str] = field(default_factory=list)
    prepend: list[str] = field(default_factory=list)


class Evaluation:
    """One a session. The driver keeps the attributes current; the checks read them."""

    __slots__ = (
        "_policy_nesting",
        "client",
        "content_size",
        "defer_if_permit",
        "defer_if_permit_client",
        "defer_if_permit_helo",
        "defer_if_permit_sender",
        "defer_if_reject",
        "effects",
        "etrn",
        "helo",
        "instance",
        "list_kind",
        "pipelined",
        "protocol",
        "queue_id",
        "recipient",
        "recipient_count",
        "recipient_listed",
        "recursion",
        "reply",
        "sasl_sender",
        "sender",
        "sender_listed",
        "size",
        "smtputf8",
        "troubles",
        "warn_if_reject",
        "where",
        "world",
    )

    def __init__(self, world: World, client: Client) -> None:
        self.world = world
        self.client = client
        self.where = "CONNECT"
        self.protocol = "SMTP"
        self.helo = ""
        self.sender: str | None = None
        self.sasl_sender = ""
        """AUTH= of MAIL (RFC 4954 5)."""
        self.recipient: str | None = None
        self.recipient_count = 0
        self.etrn = ""
        self.size = 0
        self.content_size = 0
        self.instance = ""
        self.queue_id = ""
        self.smtputf8 = False
        self.pipelined = False
        self.reply = ""
        self.troubles: set[str] = set()
        self.effects = Effects()
        self.list_kind = ""
        """Which list is judged: what a table alone, in a class or in an action, is short for."""
        self.recursion = 0
        self.warn_if_reject = 0
        self.defer_if_reject: Deferral | None = None
        self.defer_if_permit: Deferral | None = None
        self.defer_if_permit_client: Deferral | None = None
        self.defer_if_permit_helo: Deferral | None = None
        self.defer_if_permit_sender: Deferral | None = None
        self.sender_listed = False
        self.recipient_listed = False
        self._policy_nesting = 0

    def begin(self) -> None:
        """A new list is about to be judged."""
        self.recursion = 0
        self.warn_if_reject = 0
        self.defer_if_reject = None

    def reject(self, trouble: str, code: int, status: str, text: str) -> int:
        """No. DUNNO where warn_if_reject stands before the restriction, else REJECT with ``reply`` set."""
        harmless = bool(self.warn_if_reject) and trouble not in _OURS
        self.troubles.add(trouble)
        if not 400 <= code <= 599 or not status_codes.is_valid(status):
            self.world.warn(f"SMTP reply code configuration error: {code} {status} {text}")
            code, status, text = 450, "4.7.1", "Service unavailable"
        if not harmless and code >= 500 and self.defer_if_reject is not None:
            later = self.defer_if_reject
            self.defer_if_reject = None
            self.warn_if_reject = 0
            return self.reject(later.trouble, later.code, later.status, later.text)
        if code >= 500 and self.world.rules.soft_bounce:
            code -= 100
        # RFC 2034 3: the class of the enhanced code is the first digit of the code.
        status = f"{code // 100}{status[1:]}"
        reply = _UNPRINTABLE.sub(" ", f"{code} {status} {text}"[:_REPLY_LIMIT])
        self.log("reject_warning" if harmless else "reject", reply)
        if harmless:
            return DUNNO
        self.reply = reply
        return REJECT

    def defer_permit(self, act: bool, trouble: str, code: int, status: str, text: str) -> int:
        """Temporary doubt: refuse for now unless something else refuses for good. ``act`` False: refuse at once."""
        if self.warn_if_reject or not act:
            return self.reject(trouble, code, status, text)
        if self.defer_if_permit is None:
            self.defer_if_permit = Deferral(trouble, code, status, text)
        return DUNNO

    def defer_reject(self, trouble: str, code: int, status: str, text: str) -> int:
        """What would permit could not be asked: a later rejection becomes a temporary one."""
        if self.defer_if_reject is None:
            self.defer_if_reject = Deferral(trouble, code, status, text)
        return DUNNO

    def permit(self, action: str, kind: str, name: str, detail: str = "") -> int:
        """Yes; logged where smtpd_log_access_permit_actions names the action."""
        logged = self.world.logged_permits
        if logged and self.defer_if_permit is None and logged.immediate and logged.match_now(action):
            self.log("permit", f"action={action} for {kind}={name}" + (f" {detail}" if detail else ""))
        return OK

    def conclude(self, status: int) -> int:
        """The end of a command's lists: a deferral that was held back becomes the answer."""
        later = self.defer_if_permit
        if status != REJECT and later is not None:
            return self.reject(later.trouble, later.code, later.status, later.text)
        return status

    def stop(self, trouble: str, code: int, status: str, text: str) -> Stop:
        """The exception to raise when no further check can be trusted."""
        self.warn_if_reject = 0
        self.reject(trouble, code, status, text)
        return Stop(text)

    def misconfigured(self, *explanations: str) -> Stop:
        """A mistake in main.cf or a table: refuse for now, and tell the administrator."""
        for explanation in explanations:
            self.world.warn(explanation)
        return self.stop("software", 451, "4.3.5", "Server configuration error")

    def log(self, what: str, text: str) -> None:
        """``NOQUEUE: reject: RCPT from h[ip]: 554 …; from=<a> to=<b> proto=ESMTP helo=<c>``"""
        line = f"{self.queue_id or 'NOQUEUE'}: {what}: {self.where} from {self.client.identity}: {text};"
        if self.sender is not None:
            line += f" from=<{self.sender}>"
        if self.recipient is not None:
            line += f" to=<{self.recipient}>"
        line += f" proto={self.protocol}"
        if self.helo:
            line += f" helo=<{self.helo}>"
        self.world.info(line)

    def enter_policy(self) -> int:
        """How deep policy services' default actions are nested in each other."""
        self._policy_nesting += 1
        return self._policy_nesting

    def leave_policy(self) -> None:
        self._policy_nesting -= 1
