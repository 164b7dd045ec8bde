"""Asking a policy service (smtpd's check_policy_service)."""

from tubepost.common.config.declare import Integer, Settings, Text, Time


class SmtpdPolicy(Settings):
    smtpd_policy_service_default_action = Text(
        "451 4.3.5 Server configuration problem", "What happens when the policy service does not answer.", low=1
    )
    smtpd_policy_service_max_idle = Time("300s", "An idle connection to it is closed after this.", low=1)
    smtpd_policy_service_max_ttl = Time("1000s", "A connection to it is closed after this.", low=1)
    smtpd_policy_service_policy_context = Text(
        "", "Sent as policy_context, so that one service can serve several uses."
    )
    smtpd_policy_service_request_limit = Integer("0", "Requests on one connection; 0: no limit.")
    smtpd_policy_service_retry_delay = Time("1s", "Pause before it is asked again.", low=1)
    smtpd_policy_service_timeout = Time("100s", "Longest wait for its answer.", low=1)
    smtpd_policy_service_try_limit = Integer("2", "How often it is asked.", low=1)
