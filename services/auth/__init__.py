"""auth - answers every password question, and knows where users' mailboxes are

Summary
    auth  unix  -  -  n  -  1  auth

Description
    Other programs pass on what a client says to authenticate itself (SASL, RFC 4422); auth drives the mechanism, asks
    the backends of ``auth_backends`` in order, and answers with the account: its name, home, mailbox, ids and quota.
    A backend that does not know a user leaves it to the next; one that knows it has the last word. One that cannot be
    reached makes the answer "try again", never "wrong password".

    Passwords are hashed in ``auth_hash_threads`` threads. A password that was right is remembered for
    ``auth_cache_time``, as a keyed digest that means nothing outside of this process, so that a mail program that
    connects each minute costs one hash an hour. An unknown user costs as much time as a wrong password. Each wrong
    password makes the answer to the next one from that address, or for that account, come later
    (``auth_failure_delay``); an address holds a bounded number of tries at one time. Right passwords are never delayed.

    Every failure and every success is one line in the log.

Standards
    RFC 4422 (SASL), 4616 (PLAIN), 5802, 7677, 5929 (SCRAM), 7628 (OAUTHBEARER), 2195 (CRAM-MD5), 4013 (SASLprep), 5803:
    yes. RFC 7662 (token introspection), 7517 and 7519 (signed tokens): as far as mail needs.

Security
    Alone reads the passwords. Writes its databases, and has no network unless a backend or OAuth is set that needs one.
    With ``auth_owner`` it runs as an account of its own, to which the master hands ``auth_directory`` at its start and
    at a reload. The backend pam needs it to run as root (unpriv n), and lets PAM's modules write files, connect and run
    programs.

Bugs
    SCRAM is for users with a stored SCRAM key; application passwords and other backends' users need PLAIN or LOGIN.

See also
    Dovecot's auth, Cyrus saslauthd(8), Courier authdaemond.
"""
