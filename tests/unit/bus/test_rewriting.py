"""The rewrite client: what it asks, what it remembers, and for how long."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tubepost.common.wire.rewrite import Answers, Batch, Resolved, Rewritten
from tubepost.common.bus import Unavailable
from tubepost.common.bus.rewriting import RewriteClient


class Service:
    """Answers as the rewrite service would, and counts."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.now = 0.0
        self.down = False
        self.failing = False

    async def call(self, message: Batch, reply: type[Answers]) -> Answers:
        self.batches.append(message)
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable("down")
        return Answers(
            rewrites=tuple(Rewritten(address=f"{one.address}@{one.context}") for one in message.rewrites),
            resolves=tuple(
                Resolved(
                    transport="smtp",
                    nexthop="",
                    recipient=one.address,
                    address_class="default",
                    error="table_failure" if self.failing else "",
                )
                for one in message.resolves
            ),
        )


def run(work: Callable[[RewriteClient], Coroutine[Any, Any, None]], service: Service, **settings: Any) -> None:
    async def all_of_it() -> None:
        await work(RewriteClient(service, clock=lambda: service.now, **settings))  # type: ignore[arg-type]

    asyncio.run(all_of_it())


def test_one_batch_and_then_the_cache() -> None:
    service = Service()

    async def work(client: RewriteClient) -> None:
        results = await asyncio.gather(
            client.rewrite("local", "a"),
            client.rewrite("local", "a"),
            client.rewrite("remote", "a"),
            client.rewrite_all("local", ["b", "x@y.z", "", "a"]),
            client.resolve("s", "r@x"),
        )
        assert list(results[:4]) == ["a@local", "a@local", "a@remote", ["b@local", "x@y.z", "", "a@local"]]
        assert len(service.batches) == 1
        assert len(service.batches[0].rewrites) == 3
        assert await client.rewrite("local", "a") == "a@local"
        assert client.known_route("s", "r@x") is not None
        assert len(service.batches) == 1
        service.now = 31
        assert client.known("local", "a") is None
        await client.rewrite("local", "a")
        assert len(service.batches) == 2

    run(work, service)


@pytest.mark.parametrize(
    "address",
    ["a", "a@b", "a@b.", "a@b.c.", "a%b@c.d", "a!b@c.d", '"a b"@c.d', "a..b@c.d", "a@[1.2.3.4]", "@c.d", "ü@c.d"],
)
def test_what_is_not_plainly_standard_is_asked(address: str) -> None:
    service = Service()

    async def work(client: RewriteClient) -> None:
        assert client.known("local", address) is None

    run(work, service)


def test_the_cache_is_bounded_and_forgets_the_least_used() -> None:
    service = Service()

    async def work(client: RewriteClient) -> None:
        for name in ("a", "b", "a", "c"):
            await client.rewrite("local", name)
        assert client.known("local", "b") is None
        assert client.known("local", "a") == "a@local"
        assert client.known("local", "c") == "c@local"

    run(work, service, size=2)


def test_trouble_is_told_to_all_and_not_remembered() -> None:
    service = Service()
    service.down = True

    async def work(client: RewriteClient) -> None:
        results = await asyncio.gather(
            client.rewrite("local", "a"), client.rewrite_all("local", ["b", "c"]), return_exceptions=True
        )
        assert all(isinstance(result, Unavailable) for result in results)
        service.down = False
        assert await client.rewrite("local", "a") == "a@local"

    run(work, service)


def test_a_table_failure_is_asked_anew() -> None:
    service = Service()
    service.failing = True

    async def work(client: RewriteClient) -> None:
        assert (await client.resolve("s", "r@x.y")).error == "table_failure"
        assert client.known_route("s", "r@x.y") is None

    run(work, service)


def test_senders_matter_only_where_configured() -> None:
    service = Service()

    async def work(client: RewriteClient) -> None:
        await client.resolve("s", "r@x.y")
        assert client.known_route("other", "r@x.y") is not None

    run(work, service, by_sender=False)


def test_probes_have_routes_of_their_own() -> None:
    service = Service()

    async def work(client: RewriteClient) -> None:
        await asyncio.gather(client.resolve("s", "r@x.y"), client.resolve("s", "r@x.y", True))
        assert sorted(one.probe for one in service.batches[0].resolves) == [False, True]
        await client.resolve_all("s", ["only@x.y"], True)
        assert client.known_route("s", "only@x.y") is None
        assert client.known_route("s", "only@x.y", True) is not None

    run(work, service)


def test_a_caller_that_gives_up_does_not_spoil_it_for_others() -> None:
    service = Service()

    async def work(client: RewriteClient) -> None:
        first = asyncio.create_task(client.rewrite("local", "a"))
        second = asyncio.create_task(client.rewrite("local", "a"))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == "a@local"

    run(work, service)


def test_many_questions_go_in_several_batches() -> None:
    service = Service()

    async def work(client: RewriteClient) -> None:
        names = [f"n{number}" for number in range(250)]
        assert await client.rewrite_all("local", names) == [f"{name}@local" for name in names]
        assert [len(batch.rewrites) for batch in service.batches] == [100, 100, 50]

    run(work, service)


def test_a_question_that_cannot_be_sent_fails_alone_and_at_once() -> None:
    service = Service()

    async def work(client: RewriteClient) -> None:
        async with asyncio.timeout(5):
            good = asyncio.ensure_future(client.rewrite("local", "a"))
            for question in (
                client.rewrite("local", "\udcf6@x"),
                client.resolve("\udcf6@x", "a"),
                client.resolve("", "\udcf6"),
            ):
                with pytest.raises(Unavailable):
                    await question
            assert await good == "a@local"

    run(work, service)


def test_whatever_goes_wrong_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()

    async def call(message: Batch, reply: type[Answers]) -> Answers:
        raise ValueError("no such thing")

    monkeypatch.setattr(service, "call", call)

    async def work(client: RewriteClient) -> None:
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable):
                await client.rewrite("local", "a")

    run(work, service)


def test_what_is_too_old_is_forgotten_though_nobody_asks_for_it() -> None:
    """Of addresses that come once each a process keeps those of the last half minute."""
    service = Service()

    async def work(client: RewriteClient) -> None:
        await asyncio.gather(*(client.resolve("", f"u{number}@example.test") for number in range(300)))
        assert len(client._resolved) == 300
        service.now = 31.0
        await client.resolve("", "another@example.test")
        assert len(client._resolved) == 1

    run(work, service)
