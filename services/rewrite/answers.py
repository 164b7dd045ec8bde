"""What is answered to which message of rewrite/1. Pure: steps, run by ``session``."""

from tubepost.common.wire.rewrite import Answers, Batch, Resolve, Resolved, Rewrite, Rewritten
from tubepost.common.tables.maps import Steps

from tubepost.services.rewrite.resolving import Resolver
from tubepost.services.rewrite.rewriting import Rules, rewrite


class Protocol:
    """One configuration's answers."""

    __slots__ = ("_resolver", "_rules")

    def __init__(self, rules: Rules, resolver: Resolver) -> None:
        self._rules = rules
        self._resolver = resolver

    def rewritten(self, question: Rewrite) -> Rewritten:
        rules = self._rules
        context = rules.local if question.context == "local" else rules.remote
        return Rewritten(address=rewrite(question.address, context, rules))

    def resolved(self, question: Resolve) -> Steps[Resolved]:
        return self._resolver.resolve(question.sender, question.address, question.probe)

    def answers(self, batch: Batch) -> Steps[Answers]:
        resolves = []
        for question in batch.resolves:
            resolves.append((yield from self.resolved(question)))
        return Answers(
            rewrites=tuple(self.rewritten(question) for question in batch.rewrites), resolves=tuple(resolves)
        )
