"""The log."""

from tubepost.common.config.declare import Boolean, Integer, List, Settings, Text


class Log(Settings):
    maillog_file = Text("", "File that the log goes to, /dev/stdout for standard output; empty: syslog.")
    maillog_file_prefixes = List("/var, /dev/stdout", "What maillog_file must begin with.")
    maillog_file_permissions = Text("0600", "Permissions of a new log file: 0600, 0640 or 0644.", low=1)
    syslog_facility = Text("mail", "Facility of syslog messages.", low=1)
    syslog_name = Text("postfix", "What stands before the program's name in log lines.", low=1)
    delay_logging_resolution_limit = Integer("2", "Most digits after the decimal point in logged delays.", high=6)
    show_user_unknown_table_name = Boolean("yes", "Name the table in User unknown replies.")
    helpful_warnings = Boolean("yes", "Log warnings about configurations that are likely wrong.")
