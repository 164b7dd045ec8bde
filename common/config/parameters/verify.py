"""Is an address deliverable? (the verify program)"""

from tubepost.common.config.declare import Boolean, Integer, Maps, Settings, Text, Time


class Verify(Settings):
    address_verify_map = Text(
        "hash:$data_directory/verify_cache", "File that verify keeps its findings in; empty: memory only."
    )
    address_verify_cache_cleanup_interval = Time("12h", "How often old findings are removed; 0: never.")
    address_verify_sender = Text("$double_bounce_sender", "Sender of probes.")
    address_verify_sender_ttl = Time("0s", "How often the sender of probes changes; 0: never.")
    address_verify_poll_count = Integer(
        "${stress?{1}:{3}}", "How often smtpd asks for the outcome of a probe before it defers.", low=1
    )
    address_verify_poll_delay = Time("3s", "Pause between two such questions.", low=1)
    address_verify_positive_expire_time = Time("31d", "How long a good finding is used.", low=1)
    address_verify_positive_refresh_time = Time("7d", "Age at which a good finding is probed again.", low=1)
    address_verify_negative_cache = Boolean("yes", "Keep bad findings too.")
    address_verify_negative_expire_time = Time("3d", "How long a bad finding is used.", low=1)
    address_verify_negative_refresh_time = Time("3h", "Age at which a bad finding is probed again.", low=1)
    address_verify_pending_request_limit = Integer("5000", "Most probes under way.", low=1)
    address_verify_service_name = Text("verify", "Service that verifies addresses.", low=1)
    address_verify_default_transport = Text("$default_transport", "default_transport for probes.", low=1)
    address_verify_local_transport = Text("$local_transport", "local_transport for probes.", low=1)
    address_verify_relay_transport = Text("$relay_transport", "relay_transport for probes.", low=1)
    address_verify_virtual_transport = Text("$virtual_transport", "virtual_transport for probes.", low=1)
    address_verify_relayhost = Text("$relayhost", "relayhost for probes.")
    address_verify_transport_maps = Maps("$transport_maps", "transport_maps for probes.")
    address_verify_sender_dependent_relayhost_maps = Maps(
        "$sender_dependent_relayhost_maps", "sender_dependent_relayhost_maps for probes."
    )
    address_verify_sender_dependent_default_transport_maps = Maps(
        "$sender_dependent_default_transport_maps", "sender_dependent_default_transport_maps for probes."
    )
