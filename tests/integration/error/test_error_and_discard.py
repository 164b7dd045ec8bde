"""The two agents that deliver nothing, in a real system. Aliases lead to them: smtpd refuses what it sees to fail."""

from tests.fakes.instance import Instance

ALIASES = "inline:{ {a@example.test=a@one.test} {b@example.test=b@two.test} {c@example.test=c@three.test} }"


def _routes(**routes: str) -> dict[str, str]:
    pairs = " ".join(f"{{{domain}.test={route}}}" for domain, route in routes.items())
    return {"virtual_alias_maps": ALIASES, "transport_maps": f"inline:{{ {pairs} }}"}


def test_error_bounces_retry_waits_and_discard_forgets() -> None:
    main = _routes(one="error:5.7.1 closed for good", two="retry:come back", three="discard:gone")
    with Instance(main=main) as instance:
        instance.send(["a@example.test", "b@example.test", "c@example.test"], sender="")
        log = instance.log
        log.wait(r"error\[\d+\]: \w+: to=<a@one.test>, .*relay=none, .* dsn=5.7.1, status=bounced \(closed for good\)")
        log.wait(r"error\[\d+\]: \w+: to=<b@two.test>, .*relay=none, .* dsn=4.0.0, status=deferred \(come back\)")
        log.wait(r"discard\[\d+\]: \w+: to=<c@three.test>, .*relay=none, .* dsn=2.0.0, status=sent \(gone\)")


def test_the_status_filter_changes_the_words_but_never_failure_to_success() -> None:
    main = _routes(one="error:5.7.1 first", two="error:5.7.2 second") | {
        "default_delivery_status_filter": "regexp:{ {/first$$/ 4.7.1 wait a little} {/second$$/ 2.0.0 well done} }"
    }
    with Instance(main=main) as instance:
        instance.send(["a@example.test", "b@example.test"], sender="")
        instance.log.wait(r"to=<a@one.test>, .* dsn=4.7.1, status=deferred \(wait a little\)")
        instance.log.wait(r"to=<b@two.test>, .* dsn=5.7.2, status=bounced \(second\)")
        instance.log.wait(r"warning: .*success and failure cannot be exchanged")
