"""The scheduler's limits of a transport, from its parameters."""

from tubepost.common.config import Config

from tubepost.services.qmgr.schedule import Feedback, Limits, parse_feedback


def limits_of(config: Config, transport: str) -> Limits:
    """Raises ConfigError."""

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
    )
