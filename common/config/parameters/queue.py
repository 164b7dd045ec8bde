"""The queue directories, and limits of a message in transit."""

from tubepost.common.config.declare import Boolean, Integer, List, Settings, Size, Time


class Queue(Settings):
    message_size_limit = Size("52428800", "Largest message accepted, with its envelope; 0: no limit.")
    queue_minfree = Size("0", "Free space that the queue's file system must have for mail to be accepted.")
    hash_queue_names = List(
        "deferred, defer", "Queue directories that are split by the first characters of the queue id."
    )
    hash_queue_depth = Integer("1", "Levels of subdirectories in a split queue directory.", low=1, high=16)
    enable_long_queue_ids = Boolean(
        "yes", "Queue listings have room for long ids; no: Postfix's narrow columns. Ids never repeat either way."
    )
    in_flow_delay = Time(
        "1s", "How long cleanup waits before it takes a message when mail arrives faster than it leaves.", high=10
    )
    fast_flush_domains = List("$relay_domains", "Destinations whose deferred mail is listed for ETRN and sendmail -qR.")
    fast_flush_refresh_time = Time("12h", "Age at which a list of deferred mail is written anew.", low=1)
    fast_flush_purge_time = Time("7d", "Age at which an empty list of deferred mail is removed.", low=1)
