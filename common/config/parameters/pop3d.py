"""The POP3 server (the pop3d program)."""

from tubepost.common.config.declare import Boolean, Choice, Integer, Settings, Text, Time


class Pop3d(Settings):
    pop3d_greeting = Text("$myhostname ready", "Text of the greeting.", low=1, postfix=False)
    pop3d_timeout = Time(
        "600s", "Longest wait for a client's command; RFC 1939 wants 10 minutes at least.", low=1, postfix=False
    )
    pop3d_login_timeout = Time("${stress?{10}:{180}}s", "The same before the login.", low=1, postfix=False)
    pop3d_line_length_limit = Integer(
        "65536", "Most octets of a command, or of a response to a challenge.", low=255, postfix=False
    )
    pop3d_error_limit = Integer(
        "10", "Errors in a row, or failed logins in all, after which a client is disconnected.", low=1, postfix=False
    )
    pop3d_uidl_format = Text(
        "%08Xu%08Xv",
        "What UIDL says: %u the UID, %v UIDVALIDITY; between % and letter a width, and X for hexadecimal.",
        low=2,
        postfix=False,
    )
    pop3d_delete_type = Choice(
        "expunge",
        "What QUIT does to messages marked by DELE: expunge them, or flag them \\Deleted and show them no more.",
        choices=("expunge", "flag"),
        postfix=False,
    )
    pop3d_mark_seen = Boolean("yes", "After QUIT messages that were retrieved have the flag \\Seen.", postfix=False)
    pop3d_login_delay = Time("0s", "Shortest time between two sessions of an account; 0: any.", postfix=False)
    pop3d_threads = Integer(
        "8", "How many long pieces of work (large messages, removals) a process does at one time.", low=1, postfix=False
    )
