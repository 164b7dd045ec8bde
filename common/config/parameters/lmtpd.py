"""The LMTP server (the lmtpd program)."""

from tubepost.common.config.declare import Boolean, Integer, List, Settings, Text, Time


class Lmtpd(Settings):
    lmtpd_greeting = Text("$myhostname LMTP $mail_name", "Text of the greeting.", low=1, postfix=False)
    lmtpd_timeout = Time("${stress?{10}:{300}}s", "Longest wait for a client.", low=1, postfix=False)
    lmtpd_recipient_limit = Integer("1000", "Most recipients of a message.", low=1, postfix=False)
    lmtpd_error_limit = Integer("20", "Errors in a row after which a client is disconnected.", low=1, postfix=False)
    lmtpd_quota_full_tempfail = Boolean(
        "no", "A full mailbox is told as 452, to be tried again, and not as 552.", postfix=False
    )
    lmtpd_authorized_users = List(
        "root, $mail_owner, postfix, exim, Debian-exim, mail",
        "Login names of those who may connect to a UNIX socket; * for all.",
        postfix=False,
    )
    lmtpd_authorized_clients = List(
        "$mynetworks", "Names, addresses and networks that may connect over TCP.", postfix=False
    )
