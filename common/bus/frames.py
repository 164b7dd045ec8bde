"""The frames of a request, as values. Pure.

The first frame is a kind, a number of the caller's choosing, and what is said: a versioned name and JSON, or bytes.
More frames are payload.

=====  ================================================  =====================
kind   from caller to callee                              from callee to caller
=====  ================================================  =====================
Q / R  a call                                             its reply
T      a hint, unanswered
U      a call whose payload follows in chunks
C / K  a chunk                                            leave to send more (credit)
E      the chunks are complete
X      the caller gave up
L / I  a call answered by items                           one item
F                                                         failed: why
G / B  the caller will send no more here                  the callee is about to leave
=====  ================================================  =====================
"""

from collections.abc import Sequence

from tubepost.common.wire.base import Message
from tubepost.common.wire.programs import wire_name

CALL, TELL, UPLOAD, CHUNK, END, CANCEL, LISTING, GOODBYE = b"Q", b"T", b"U", b"C", b"E", b"X", b"L", b"G"
REPLY, FAILED, CREDIT, ITEM, LEAVING = b"R", b"F", b"K", b"I", b"B"

WINDOW = 8
"""Chunks under way for one upload or listing: with CHUNK_SIZE the memory that one stream may take."""
CHUNK_SIZE = 65_536
HEAD = 9
"""Bytes that the first frame begins with: the kind and eight hexadecimal digits."""

_names: dict[type[Message], bytes] = {}


def head(kind: bytes, number: int) -> bytes:
    return b"%b%08x" % (kind, number)


def name_of(protocol: str, model: type[Message]) -> bytes:
    return wire_name(protocol, model)


def protocol_of(model: type[Message]) -> str:
    """The PROTOCOL of the conversation module that declares the model."""
    import sys

    return str(vars(sys.modules[model.__module__]).get("PROTOCOL", "base/1"))


def encode(message: Message) -> bytes:
    """``cleanup/1 Deposit\\n{…}``."""
    kind = type(message)
    name = _names.get(kind)
    if name is None:
        name = _names[kind] = name_of(protocol_of(kind), kind) + b"\n"
    return name + kind.__pydantic_serializer__.to_json(message, exclude_defaults=True)


def split(frame: bytes) -> tuple[bytes, bytes]:
    """(name, JSON)."""
    name, _, text = frame.partition(b"\n")
    return name, text


def decode(frame: bytes, models: Sequence[type[Message]]) -> Message:
    """Raises ValueError (pydantic's included) when it is none of the models."""
    name, text = split(frame)
    short = name.rpartition(b" ")[2].decode("ascii", "replace")
    for model in models:
        if model.__name__ == short:
            return model.model_validate_json(text)
    raise ValueError(f"{short!r} is not an answer to this question")
