"""Who this host is, where its files are, which accounts it uses."""

from tubepost.common.config import host
from tubepost.common.config.declare import Boolean, Choice, Integer, List, Settings, Text


class General(Settings):
    myhostname = Text("the host's name", "Internet name of this mail system.", low=1, computed=host.default_myhostname)
    mydomain = Text(
        "$myhostname without its first label",
        "Internet domain of this mail system.",
        low=1,
        computed=host.default_mydomain,
    )
    myorigin = Text("$myhostname", "Domain given to addresses that have none, for mail posted on this host.", low=1)
    mydestination = List(
        "$myhostname, localhost.$mydomain, localhost",
        "Domains whose mail is delivered by $local_transport; may name files and type:table.",
    )
    mynetworks = List(
        "the networks of $mynetworks_style",
        "Trusted clients: networks that may relay mail through this host.",
        computed=host.default_mynetworks,
    )
    mynetworks_style = Choice(
        "host",
        "What is trusted when mynetworks is not set: this host's addresses, its subnets, or its address classes.",
        choices=("host", "subnet", "class"),
    )
    inet_interfaces = List("all", "Addresses that mail is received on: all, loopback-only, or names and addresses.")
    inet_protocols = List("all", "Internet protocols used: all, ipv4, ipv6.", choices=("all", "ipv4", "ipv6"))
    proxy_interfaces = List("", "Addresses of a proxy or translator in front of this host, which are its own as well.")
    relay_domains = List("", "Domains that this host relays mail to, for any client.")
    relayhost = List("", "Next hop for mail to other domains; empty: look up the destination's MX.")
    recipient_delimiter = Text("", "Characters that may stand between a user name and its extension.")
    alternate_config_directories = List("", "Further directories that set-gid commands may be pointed to with -c.")
    config_directory = Text("/etc/tubepost", "Directory of main.cf and master.cf.", low=1)
    queue_directory = Text("/var/spool/tubepost", "Directory of the queue, and of the sockets between programs.", low=1)
    data_directory = Text("/var/lib/tubepost", "Directory of files that programs keep for themselves.", low=1)
    command_directory = Text("/usr/sbin", "Directory of the commands that a person types.", low=1)
    mail_owner = Text("tubepost", "Account that owns the queue and that most programs run as.", low=1)
    protocol_owner = Text(
        "$mail_owner",
        "Account of the programs that own nothing (smtpd, smtp, lmtp, rewrite, anvil, notify, error, discard, "
        "authclient); its own keeps the queue from them.",
        postfix=False,
    )
    setgid_group = Text("postdrop", "Group that may write into the maildrop directory.", low=1)
    default_privs = Text(
        "nobody", "Account for deliveries to files and commands when there is no recipient's own.", low=1
    )
    mail_name = Text("tubepost", "Name of the mail system, in Received headers, banners and bounces.", low=1)
    mail_version = Text("0.1.0", "Version of the mail system.")
    import_environment = List(
        "MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C", "Environment that programs keep: names, or name=value."
    )
    export_environment = List(
        "TZ MAIL_CONFIG LANG", "Environment that commands run by a delivery get: names, or name=value."
    )
    authorized_submit_users = List("static:anyone", "Users who may post mail with sendmail or postdrop.")
    authorized_flush_users = List("static:anyone", "Users who may flush the queue.")
    authorized_mailq_users = List("static:anyone", "Users who may list the queue.")
    smtputf8_enable = Boolean("yes", "Accept and send internationalised addresses and headers (RFC 6531).")
    strict_smtputf8 = Boolean("no", "Refuse UTF-8 addresses from clients that did not ask for SMTPUTF8.")
    smtputf8_autodetect_classes = List(
        "sendmail, verify",
        "Sources of mail that may turn out to need SMTPUTF8 by their content.",
        choices=("all", "sendmail", "smtpd", "forward", "bounce", "notify", "verify"),
    )
    soft_bounce = Boolean("no", "Turn every permanent failure into a temporary one: for trying out a configuration.")
    sendmail_fix_line_endings = Choice(
        "always",
        "When sendmail turns CR LF into LF: always, only if the first line ends so, never.",
        choices=("always", "strict", "never"),
    )
    line_length_limit = Integer(
        "2048", "Longest line that is kept in one piece; longer ones are read in parts.", low=512
    )
    disable_dns_lookups = Boolean("no", "Do not look for MX records; hosts are found through smtp_host_lookup alone.")
    dns_nameservers = List(
        "",
        "DNS servers as address, address:port or [address]:port; empty: those of /etc/resolv.conf.",
        postfix=False,
    )
    parent_domain_matches_subdomains = List(
        "debug_peer_list,fast_flush_domains,mynetworks,permit_mx_backup_networks,relay_domains,smtpd_access_maps",
        "Features where example.com also matches its subdomains; elsewhere that is written .example.com.",
    )
