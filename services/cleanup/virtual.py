"""Recipients through virtual(5) alias maps: expansion, its limits, duplicates, and what RFC 3461 wants kept. Pure."""

from tubepost.common.wire.cleanup import RECIPIENT_OVERHEAD, RECIPIENTS_LIMIT
from tubepost.common.wire.envelope import Recipient

from tubepost.services.cleanup.policy import Policy
from tubepost.services.cleanup.protocol import Fault, Message

_FAILED = "4.6.0 Alias expansion error"


class Recipients:
    """Collects the final recipients of one message, each once, as many as a queue file may hold."""

    __slots__ = ("_limit", "_message", "_policy", "_seen", "_size")

    def __init__(self, message: Message, policy: Policy) -> None:
        self._message = message
        self._policy = policy
        self._seen: set[object] = set()
        # Postfix: message_size_limit is the limit of the file, and recipients stand in it.
        self._limit = min(policy.message_size_limit or RECIPIENTS_LIMIT, RECIPIENTS_LIMIT)
        self._size = 0

    async def add(self, recipient: Recipient, address: str) -> None:
        """A recipient as it was given, and its canonical form. Raises Trouble."""
        message, policy = self._message, self._policy
        if policy.virtual_alias_maps is None or not message.deposit.aliases:
            self._put(recipient, address)
            return
        results = await expand(message, policy, address)
        if not results:
            return
        if message.deposit.source == "verify" and len(results) > 1:
            # Such an alias can be delivered to (Postfix: the same). Answers of its members would overwrite each other.
            message.discard = True
            return
        if "SUCCESS" in recipient.notify and len(results) > 1:
            # RFC 3461 5.2.7.3 (b): the expansion is reported, and SUCCESS is asked for no more.
            message.expanded.append(
                recipient.model_copy(update={"address": address, "original": recipient.original or recipient.address})
            )
            rest = tuple(when for when in recipient.notify if when != "SUCCESS")
            recipient = recipient.model_copy(update={"notify": rest or ("NEVER",)})
        for result in results:
            self._put(recipient, result)

    def _put(self, recipient: Recipient, address: str) -> None:
        policy = self._policy
        original = recipient.original or recipient.address
        if policy.enable_original_recipient:
            # Different recipients of the same mailbox are told apart by what they were called.
            key: object = (recipient.orcpt, recipient.notify, original.casefold(), address.casefold())
        else:
            key = address.casefold()
            original = ""
        if key in self._seen:
            return
        if policy.duplicate_filter_limit <= 0 or len(self._seen) < policy.duplicate_filter_limit:
            self._seen.add(key)
        if original == address:
            original = ""
        if address != recipient.address or original != recipient.original:
            recipient = recipient.model_copy(update={"address": address, "original": original})
        self._size += len(address) + len(original) + len(recipient.orcpt) + RECIPIENT_OVERHEAD
        if self._size > self._limit:
            self._message.fail(Fault.SIZE)
            return
        self._message.recipients.append(recipient)


async def expand(message: Message, policy: Policy, address: str) -> list[str]:
    """What an address stands for; itself when it is no alias. Beyond a limit the message is deferred, the result empty.

    An address that leads to itself is kept, and not expanded again (virtual(5)); a longer way back ends at a limit.
    Raises Trouble.
    """
    lookup = policy.virtual_alias_maps
    assert lookup is not None
    selves: set[str] = set()
    result = [address]
    place = 0
    while place < len(result):
        if len(result) > policy.virtual_alias_expansion_limit:
            return _refuse(message, f"unreasonable virtual_alias_maps map expansion size for {address}")
        depth = 0
        while (folded := (current := result[place]).casefold()) not in selves:
            if depth >= policy.virtual_alias_recursion_limit:
                return _refuse(message, f"unreasonable virtual_alias_maps map nesting for {address}")
            found = await lookup(current)
            if not found:
                break
            new = await policy.rewrite("local", found)
            if any(len(item) > policy.virtual_alias_address_length_limit for item in new):
                return _refuse(
                    message, f"unreasonable virtual_alias_maps result for {current[:200]}: too long an address"
                )
            result[place] = new[0]
            result.extend(new[1:])
            if any(item.casefold() == folded for item in new):
                selves.add(folded)
            depth += 1
            if len(result) > policy.virtual_alias_expansion_limit:
                break
        place += 1
    return list(dict.fromkeys(result))


def _refuse(message: Message, why: str) -> list[str]:
    message.warn(f"{why} -- message not accepted, try again later")
    message.fail(Fault.DEFER, _FAILED)
    return []
