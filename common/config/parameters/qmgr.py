"""Scheduling (the qmgr program)."""

from tubepost.common.config.declare import Integer, List, Settings, Text, Time


class Qmgr(Settings):
    queue_run_delay = Time("300s", "How often deferred is looked through, and incoming for what nobody told of.", low=1)
    minimal_backoff_time = Time("300s", "Shortest wait before a delivery is tried again.", low=1)
    maximal_backoff_time = Time("4000s", "Longest wait before a delivery is tried again.", low=1)
    maximal_queue_lifetime = Time(
        "5d", "Age at which mail that cannot be delivered is returned; 0: after one try.", high=8640000
    )
    bounce_queue_lifetime = Time("5d", "The same for mail from the null sender.", high=8640000)
    delay_warning_time = Time("0h", "Age at which the sender is told that mail is delayed; 0: never.")
    qmgr_message_active_limit = Integer("20000", "Most messages in the active queue.", low=1)
    qmgr_message_recipient_limit = Integer("20000", "Most recipients in memory.", low=1)
    qmgr_message_recipient_minimum = Integer(
        "10", "Recipients in memory that each message may have in any case.", low=1
    )
    qmgr_clog_warn_time = Time("300s", "How often is warned of a destination that fills the active queue; 0: never.")
    transport_retry_time = Time("60s", "Pause before a transport that does not work is tried again.", low=1)
    defer_transports = List("", "Transports that get no mail until the queue is flushed.")
    initial_destination_concurrency = Integer("5", "Deliveries at one time that a destination starts with.", low=1)
    default_destination_concurrency_limit = Integer(
        "20", "Most deliveries at one time to one destination; 0: no limit."
    )
    default_destination_recipient_limit = Integer("50", "Most recipients in one delivery; 0: no limit.")
    default_destination_concurrency_failed_cohort_limit = Integer(
        "1", "Rounds of failed connections that make a destination count as dead; 0: never."
    )
    default_destination_concurrency_negative_feedback = Text(
        "1", "What a failed connection takes off the window.", low=1
    )
    default_destination_concurrency_positive_feedback = Text(
        "1", "What a successful delivery adds to the window.", low=1
    )
    default_destination_rate_delay = Time("0s", "Pause between deliveries to one destination.")
    default_transport_rate_delay = Time("0s", "Pause between deliveries of one transport.")
    default_recipient_limit = Integer("20000", "Recipients in memory for one transport.", low=1)
    default_recipient_refill_limit = Integer("100", "Recipients read at a time once some were delivered.", low=1)
    default_delivery_slot_cost = Integer(
        "5", "Recipients that earn one slot for preempting another message; 0: no preemption."
    )
    default_delivery_slot_loan = Integer("3", "Slots that may be borrowed before they are earned.")
    default_delivery_slot_discount = Integer("50", "Percent of the slots that need not yet be earned.", high=100)
    default_minimum_delivery_slots = Integer("3", "Messages that can earn fewer slots are never preempted.")
    local_destination_concurrency_limit = Integer("2", "Most deliveries at one time to one local user.")
    local_destination_recipient_limit = Integer("1", "Most recipients in one local delivery.")
    default_filter_nexthop = Text(
        "", "Next hop of a FILTER or content_filter that names none; empty: the recipient's domain."
    )
