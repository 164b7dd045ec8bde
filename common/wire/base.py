"""What every conversation between two programs is made of.

A *conversation* is one module here: its ``PROTOCOL`` name and version, its request and reply models, and nothing that
runs. Models are frozen, refuse unknown fields, and are validated by the receiver, whoever the sender is: siblings are
validated as strangers are.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Kept = Annotated[str, Field(max_length=4096)]
"""Text that the callee keeps, or keeps something by: no longer than a path may be (PATH_MAX), whoever asks. A caller
that was broken into cannot fill the memory of those whom it asks with what they are to remember.
"""


class Message(BaseModel):
    """One request or reply. Frozen; unknown fields are an error."""

    # Of values, such as queue ids, hardly one comes twice: kept, they would take a MiB of each process in time.
    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64", cache_strings="keys"
    )

    def __eq__(self, other: object) -> bool:
        # Asked for each message that is sent, to leave defaults out. There are no private or extra fields here.
        return self is other or (type(self) is type(other) and self.__dict__ == other.__dict__)


class Done(Message):
    """The plain answer: it was done."""


class Refused(Message):
    """The callee understood and says no. ``code`` and ``dsn`` are for the peer (0 where no SMTP peer is concerned)."""

    code: int = 0
    dsn: str = ""
    reason: str
