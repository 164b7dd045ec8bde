"""Names of servers to addresses, with a name server that is a function."""

import asyncio
from typing import Any

import dns.message
import dns.rdatatype
import dns.rrset

from tubepost.common.net.dns import Resolver

from tubepost.services.smtp import hosts
from tubepost.services.smtp.routing import Target


def test_a_hundred_names_are_not_looked_up_at_one_time() -> None:
    """A domain can have as many as it likes; each is two questions, and each question a socket."""
    now = most = 0

    async def exchange(query: Any, server: Any, patience: float) -> Any:
        nonlocal now, most
        question = query.question[0]
        response = dns.message.make_response(query)
        if question.rdtype == dns.rdatatype.MX:
            names = (f"{n // 2} mx{n % 50}.example." for n in range(100))
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", "MX", *names))
        else:
            now += 1
            most = max(most, now)
            for _ in range(5):
                await asyncio.sleep(0)
            now -= 1
            if question.rdtype == dns.rdatatype.A:
                host = f"192.0.2.{question.name.labels[0][2:].decode()}"
                response.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", host))
        return dns.message.from_wire(response.to_wire(max_size=65535))

    async def work() -> hosts.Found:
        resolver = Resolver([("192.0.2.53", 53)], exchange=exchange)
        return await hosts.find(Target("example", "example", 25), resolver, hosts.Rules(shuffle=False))

    found = asyncio.run(work())
    # 50 names, each with two preferences.
    assert len(found.candidates) == 100
    assert found.candidates[0].host == "mx0.example"
    assert 2 <= most <= 32
