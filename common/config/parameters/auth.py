"""Accounts and passwords (the auth program)."""

from tubepost.common.config.declare import Boolean, Integer, List, Settings, Text, Time


class Auth(Settings):
    accounts_directory = Text(
        "$data_directory/accounts", "Directory of the built-in accounts: domains, users, aliases.", low=1, postfix=False
    )
    auth_directory = Text(
        "${data_directory}-auth",
        "Directory of the passwords; not below data_directory, which other programs may write to.",
        low=1,
        postfix=False,
    )
    auth_service_name = Text("auth", "Service that answers password questions.", low=1, postfix=False)
    auth_owner = Text("$mail_owner", "Account that auth runs as; its own keeps passwords from the rest.", postfix=False)
    authorized_auth_users = List(
        "root, $mail_owner, postfix, exim, Debian-exim, mail",
        "Login names of those who may use the auth-client socket (Dovecot's protocol).",
        postfix=False,
    )
    auth_backends = List(
        "accounts",
        "Where users are looked for, in order: accounts, passwd-file:FILE, pam, pam:SERVICE, ldap:FILE, pgsql:FILE, "
        "saslauthd:SOCKET, dovecot:SOCKET, authdaemond:SOCKET.",
        postfix=False,
    )
    auth_master_backends = List(
        "accounts",
        "Where master users are looked for, who may log in as others: accounts, passwd-file:FILE.",
        postfix=False,
    )
    auth_master_user_separator = Text(
        "*", "What parts the name of a user from that of the master user who acts as it; empty: nothing.", postfix=False
    )
    auth_mechanisms = List(
        "PLAIN, LOGIN, SCRAM-SHA-256-PLUS, SCRAM-SHA-256, SCRAM-SHA-1-PLUS, SCRAM-SHA-1, OAUTHBEARER, XOAUTH2, "
        "EXTERNAL",
        "SASL mechanisms, in the order in which they are offered; CRAM-MD5 and APOP need passwords in clear.",
        postfix=False,
    )
    disable_plaintext_auth = Boolean(
        "yes", "No mechanism that sends the password is offered without TLS, but to this host itself.", postfix=False
    )
    auth_default_domain = Text("", "Domain of a user name without one; empty: a user of this system.", postfix=False)
    auth_argon2_memory = Integer("65536", "Memory of the argon2id hash of a new password, KiB.", low=8, postfix=False)
    auth_argon2_time = Integer("3", "Passes of the argon2id hash of a new password.", low=1, postfix=False)
    auth_scram_iterations = Integer(
        "10000", "Iterations of the SCRAM keys of a new password.", low=4096, high=10_000_000, postfix=False
    )
    auth_hash_threads = Integer("2", "Passwords that are hashed at one time.", low=1, high=64, postfix=False)
    auth_cache_time = Time(
        "1h", "How long a password that was right needs not be hashed again; 0: always hash.", postfix=False
    )
    auth_failure_delay = Time(
        "2s", "How long the answer to a wrong password takes; each further one doubles it.", postfix=False
    )
    auth_failure_delay_max = Time("15s", "The longest such delay.", postfix=False)
    auth_failure_memory = Time("10m", "After so long without one failures are forgotten.", low=1, postfix=False)
    auth_pam_timeout = Time(
        "60s",
        "How long PAM may take for one password; shorter than auth_exchange_timeout, longer than its modules wait.",
        low=1,
        postfix=False,
    )
    auth_exchange_timeout = Time("150s", "Longest time that one authentication may take.", low=1, postfix=False)
    auth_exchange_limit = Integer(
        "4096", "Authentications under way at one time; one process may have half of them.", low=1, postfix=False
    )
    auth_default_mailbox = Text(
        "%d/%n/",
        "Mailbox of a user whose backend knows none, below virtual_mailbox_base; %u user, %n local part, %d domain.",
        low=1,
        postfix=False,
    )
    oauth_introspection_url = Text(
        "", "Where an authorization server is asked whether a token is valid (RFC 7662).", postfix=False
    )
    oauth_client_id = Text("", "As whom auth asks it.", postfix=False)
    oauth_client_secret_file = Text("", "File with the secret of that client.", postfix=False)
    oauth_jwks = Text("", "URL or file of the keys that tokens (JWT) are signed with (RFC 7517).", postfix=False)
    oauth_issuers = List("", "Issuers (iss) whose tokens are taken; empty: any that passes.", postfix=False)
    oauth_audience = List("", "A token must be for one of these (aud); empty: for anybody.", postfix=False)
    oauth_scopes = List("", "Scopes that a token must have.", postfix=False)
    oauth_username_claim = Text("email", "The claim that names the account.", low=1, postfix=False)
    oauth_openid_configuration_url = Text(
        "", "Told to clients whose token is refused, so that they can get another (RFC 7628).", postfix=False
    )
    auth_default_home = Text("", "Home of such a user, with the same letters.", postfix=False)
