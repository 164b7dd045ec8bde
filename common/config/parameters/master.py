"""The master, and how long programs live."""

from tubepost.common.config.declare import Integer, List, Settings, Size, Text, Time


class Master(Settings):
    default_process_limit = Integer("100", "Most processes of one service, where master.cf does not say.", low=1)
    client_limit = Integer(
        "100", "Concurrent sessions, jobs or requests in one process; a full one accepts no more.", low=1, postfix=False
    )
    process_min_avail = Integer("0", "Idle processes of a service that are kept ready.", postfix=False)
    max_use = Integer("10000", "A process leaves after this many connections (hundreds of requests).", low=1)
    max_idle = Time("100s", "A process leaves after this long without work.", low=1)
    service_throttle_time = Time("60s", "Pause before a service that failed at its start is tried again.", low=1)
    master_service_disable = List("", "Services of master.cf that are not started: name/type, or a type such as inet.")
    ipc_timeout = Time("3600s", "Longest wait for an answer of another program.", low=1)
    daemon_timeout = Time("18000s", "Longest that a delivery agent may take for a job before qmgr gives it up.", low=1)
    trigger_timeout = Time("10s", "Longest wait when pickup or qmgr is woken.", low=1)
    heartbeat_interval = Time("5s", "How often a program tells the master that it is alive.", low=1, postfix=False)
    heartbeat_timeout = Time("60s", "A program that was silent for this long is killed.", low=2, postfix=False)
    stop_timeout = Time("30s", "How long sessions may go on after a stop before they are ended.", postfix=False)
    pressure_interval = Time(
        "5s",
        "How often process limits are lowered or raised while memory or disk is short; 0: neither is watched.",
        postfix=False,
    )
    memory_pressure_high = Integer(
        "20",
        "Percent of time lost waiting for memory (PSI, some avg10) from which process limits are lowered.",
        low=1,
        high=100,
        postfix=False,
    )
    memory_pressure_low = Integer(
        "5", "Percent below which lowered process limits are raised again.", high=100, postfix=False
    )
    memory_use_high = Integer(
        "90",
        "Percent of the memory limit in use from which process limits are lowered.",
        low=1,
        high=100,
        postfix=False,
    )
    memory_use_low = Integer(
        "80", "Percent of the memory limit in use below which they are raised again.", low=1, high=100, postfix=False
    )
    overload_grace_time = Time(
        "1s",
        "When every slot of a service is taken: how long a client that has not logged in, nor named a recipient, may "
        "be silent before it has to make way for a new one.",
        postfix=False,
    )
    overload_wait_time = Time(
        "5s",
        "How long a new client waits for a slot before it is told to come again later (SMTP: 421); 0: it stays in the "
        "kernel's backlog, as with Postfix, and nobody makes way.",
        postfix=False,
    )
    overload_waiting_limit = Integer(
        "$client_limit",
        "Most clients that wait for a slot of one process; more are told to come again later.",
        low=1,
        postfix=False,
    )
    process_memory_limit = Size(
        "2147483648",
        "Writable memory that one program may have, in bytes; 0: no limit. One that uses three quarters of it ends its "
        "sessions and is replaced, one that is refused more ends at once, and another goes on.",
        postfix=False,
    )
    process_id_directory = Text("pid", "Directory of lock files, below queue_directory.", low=1)
    stress = Text("", "Not empty while a service is out of processes; set by the master, used as ${stress?{…}:{…}}.")
    anvil_rate_time_unit = Time("60s", "Time over which anvil counts rates.", low=1)
    anvil_status_update_time = Time("600s", "How often anvil logs its peak counts.", low=1)
    cleanup_service_name = Text("cleanup", "Service that takes new messages.", low=1)
    pickup_service_name = Text("pickup", "Service that collects locally posted mail.", low=1)
    queue_service_name = Text("qmgr", "Service that manages the queue.", low=1)
    rewrite_service_name = Text("rewrite", "Service that rewrites and resolves addresses.", low=1)
    bounce_service_name = Text("bounce", "Service that reports failed deliveries.", low=1)
    defer_service_name = Text("defer", "Service that keeps records of deferred deliveries.", low=1)
    trace_service_name = Text("trace", "Service that reports on deliveries that a sender asked about.", low=1)
    error_service_name = Text("error", "Service that fails every delivery, for mail that cannot be delivered.", low=1)
    flush_service_name = Text("flush", "Service that keeps the lists for ETRN.", low=1)
    showq_service_name = Text("showq", "Service that lists the queue.", low=1)
    proxymap_service_name = Text("proxymap", "Service that reads tables for confined programs.", low=1)
    proxywrite_service_name = Text("proxywrite", "Service that changes tables for confined programs.", low=1)
    postlog_service_name = Text("postlog", "Service that writes the log.", low=1)
