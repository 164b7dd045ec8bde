"""Delivery to this host's users (the local program), and what mailbox deliveries share."""

from tubepost.common.config.declare import Boolean, Integer, List, Maps, Raw, Settings, Size, Text, Time

_EXPANSION = "1234567890!@%-_=+:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LOCKS = ("fcntl", "flock", "dotlock")


class Local(Settings):
    local_recipient_maps = Maps(
        "proxy:unix:passwd.byname $alias_maps", "Tables of all local recipients; empty: any is accepted."
    )
    home_mailbox = Text("", "Mailbox below the home directory; with a final / a Maildir.")
    mail_spool_directory = Text(
        "/var/mail", "Directory of mailboxes, one a user; with a final / they are Maildirs.", low=1
    )
    mailbox_command = Raw("", "Command that takes the mail for every user instead of a mailbox.")
    mailbox_command_maps = Maps("", "Table of such commands by user.")
    mailbox_transport = Text("", "Transport for all users' mailboxes.")
    mailbox_transport_maps = Maps("", "Table of such transports by user.")
    fallback_transport = Text("", "Transport for names that are no user.")
    fallback_transport_maps = Maps("", "Table of such transports by name.")
    luser_relay = Raw("", "Where mail for names that are no user goes; $user, $local and the like are filled in.")
    forward_path = Raw(
        "$home/.forward${recipient_delimiter}${extension}, $home/.forward", "Where a user's forward file is looked for."
    )
    allow_mail_to_commands = List(
        "alias, forward", "Where |command is allowed.", choices=("alias", "forward", "include")
    )
    allow_mail_to_files = List("alias, forward", "Where /file is allowed.", choices=("alias", "forward", "include"))
    command_time_limit = Time("1000s", "Longest run of a command.", low=1)
    command_execution_directory = Raw("", "Directory that commands of local run in.")
    local_command_shell = Text("", "Shell for commands; empty: /bin/sh where one is needed.")
    command_expansion_filter = Raw(_EXPANSION, "Characters that survive in values put into mailbox_command.", low=1)
    execution_directory_expansion_filter = Raw(_EXPANSION, "The same for command_execution_directory.", low=1)
    forward_expansion_filter = Raw(_EXPANSION, "The same for forward_path.", low=1)
    biff = Boolean("yes", "Known for the sake of Postfix's files: users' comsat is told nothing, local has no network.")
    owner_request_special = Boolean("yes", "Let list owner- and list -request addresses have no extension.")
    expand_owner_alias = Boolean("no", "Set the sender to what owner-list stands for, not to owner-list.")
    reset_owner_alias = Boolean("no", "Make a list within a list forget the owner of the outer one.")
    frozen_delivered_to = Boolean("yes", "Fix Delivered-To: to the address that first reached local, before aliases.")
    prepend_delivered_header = List(
        "command, file, forward",
        "Deliveries that get a Delivered-To: header.",
        choices=("command", "file", "forward"),
    )
    require_home_directory = Boolean("no", "Deliver only to users whose home directory is there.")
    strict_mailbox_ownership = Boolean("yes", "Refuse a mailbox file that its user does not own.")
    sun_mailtool_compatibility = Boolean("no", "Leave out the blank line behind each message of an mbox.")
    mailbox_size_limit = Size(
        "268435456", "Largest mailbox or Maildir file; not below message_size_limit; 0: no limit."
    )
    mailbox_delivery_lock = List("fcntl, dotlock", "How a mailbox is locked.", choices=_LOCKS)
    deliver_lock_attempts = Integer("20", "How often a lock is tried.", low=1)
    deliver_lock_delay = Time("1s", "Pause between two tries.", low=1)
    stale_lock_time = Time("500s", "Age at which a lock file counts as left behind.", low=1)
    default_delivery_status_filter = Maps("", "Table that changes the status and text of deliveries.")
    local_delivery_status_filter = Maps("$default_delivery_status_filter", "The same for local.")
