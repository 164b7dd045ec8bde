"""The scheduler's limits of a transport, from its parameters and its line in master.cf."""

from collections.abc import Mapping

from tubepost.common.config import Config, ConfigError, master_cf

from tubepost.services.qmgr.schedule import Feedback, Limits, parse_feedback


def deliveries_at_once(config: Config, directory: str) -> Mapping[str, int]:
    """How many deliveries each transport may have under way, by name; 0: no limit.

    In Postfix each takes a process, so maxproc in ``directory``/master.cf is the limit. Here a process takes many; an
    administrator who writes a maxproc still means deliveries. Who does mean processes sets client_limit beside it, with
    -o, and gets as many deliveries in each. Raises ConfigError when the file cannot be read.
    """
    found: dict[str, int] = {}
    for entry in master_cf.services(directory):
        if entry.type != "unix":
            continue
        try:
            own = config.with_overrides(dict(entry.overrides))
            processes = own.default_process_limit if entry.maxproc is None else entry.maxproc
            each = own.client_limit if "client_limit" in dict(entry.overrides) else 1
        except ConfigError:
            continue
        found[entry.service] = processes * each
    return found


def limits_of(config: Config, transport: str, deliveries: int = 0) -> Limits:
    """``deliveries``: at one time, 0 for no limit. Raises ConfigError."""

    def number(suffix: str) -> int:
        return config.transport_int(transport, suffix)

    def feedback(suffix: str) -> Feedback:
        text = config.transport(transport, suffix)
        try:
            return parse_feedback(text)
        except ValueError as error:
            raise config.bad_value(f"{transport}_{suffix}", str(error)) from None

    return Limits(
        initial_concurrency=number("initial_destination_concurrency"),
        concurrency=number("destination_concurrency_limit"),
        recipients=number("destination_recipient_limit"),
        positive=feedback("destination_concurrency_positive_feedback"),
        negative=feedback("destination_concurrency_negative_feedback"),
        failed_cohorts=number("destination_concurrency_failed_cohort_limit"),
        destination_rate_delay=config.transport_time(transport, "destination_rate_delay"),
        transport_rate_delay=config.transport_time(transport, "transport_rate_delay"),
        slot_cost=number("delivery_slot_cost"),
        slot_loan=number("delivery_slot_loan"),
        slot_discount=number("delivery_slot_discount"),
        minimum_slots=number("minimum_delivery_slots"),
        dead_time=config.minimal_backoff_time,
        deliveries=deliveries,
    )
