"""The IMAP server (the imapd program)."""

from tubepost.common.config.declare import Integer, List, Settings, Size, Text, Time


class Imapd(Settings):
    imapd_greeting = Text("$myhostname ready", "Text of the greeting.", low=1, postfix=False)
    imapd_timeout = Time(
        "1800s", "Longest wait for a client's command; RFC 9051 wants 30 minutes at least.", low=1, postfix=False
    )
    imapd_login_timeout = Time("${stress?{10}:{180}}s", "The same before the login.", low=1, postfix=False)
    imapd_idle_notify_interval = Time(
        "120s", "How often an idling client is told that the server is there; 0: never.", postfix=False
    )
    imapd_line_length_limit = Integer(
        "65536", "Most octets of a command, without its literals.", low=8192, postfix=False
    )
    imapd_literal_limit = Integer(
        "1048576", "Most octets of the literals of a command that are no message.", low=8192, postfix=False
    )
    imapd_append_limit = Size("$message_size_limit", "Largest message that APPEND takes; 0: no limit.", postfix=False)
    imapd_bad_command_limit = Integer(
        "20", "Commands that are none after which a client is disconnected.", low=1, postfix=False
    )
    imapd_keyword_limit = Integer("100", "Most flags in one STORE.", low=10, postfix=False)
    imapd_mailbox_keyword_limit = Integer("500", "Most keywords of a mailbox; 0: no limit.", postfix=False)
    imapd_folder_limit = Integer("10000", "Most mailboxes of an account; 0: no limit.", postfix=False)
    imapd_threads = Integer(
        "8", "How many long pieces of work (searches, copies) a process does at one time.", low=1, postfix=False
    )
    imapd_shared_prefix = Text(
        "user/", "What the names of other users' mailboxes begin with; empty: nobody sees them.", postfix=False
    )
    imapd_shares_directory = Text(
        "${virtual_mailbox_base?{$virtual_mailbox_base/.shares}}",
        "Where it is noted who shares a mailbox with anyone, so that LIST shows it; empty: such mailboxes are seen by "
        "who names their owner, or subscribes to them.",
        postfix=False,
    )
    imapd_shares_limit = Integer(
        "100", "Most accounts that share with anyone that one LIST looks into; 0: none.", postfix=False
    )
    imapd_auto_folders = List(
        "Drafts, Sent, Junk, Trash, Archive",
        "Mailboxes that an account gets, subscribed, when it is first opened: a name that tells its special use (RFC "
        "6154), or name=\\Use.",
        postfix=False,
    )
    imapd_message_limit = Integer(
        "0", "Most messages that one command works on (RFC 9738); 0: no limit.", postfix=False
    )
    imapd_user_connection_limit = Integer(
        "50",
        "Most connections of a user from one address (IPv6: a /64) to all imapd processes, which anvil adds up; 0: no "
        "limit.",
        postfix=False,
    )
    imapd_metadata_limit = Integer(
        "65536", "Most octets of the value of an annotation (METADATA).", low=1024, postfix=False
    )
    imapd_metadata_count_limit = Integer(
        "200", "Most annotations of a mailbox, and of an account.", low=10, postfix=False
    )
    imapd_notify_limit = Integer("2000", "Most mailboxes that a NOTIFY may watch.", low=10, postfix=False)
    notify_service_name = Text("notify", "Service that is told of changes of mailboxes.", low=1, postfix=False)
