"""What a call can end with other than its reply."""

from tubepost.common.wire.base import Refused


class BusError(Exception):
    """Any of the three below."""


class Unavailable(BusError):
    """Bad luck: no answer within the deadline, or the callee died. Try again later."""


class Refusal(BusError):
    """The callee understood and said no; ``refused`` has code, dsn and reason."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.reason)
        self.refused = refused


class Forbidden(BusError):
    """Our mistake: the callee does not take this message, or not from this program, or could not read it."""
