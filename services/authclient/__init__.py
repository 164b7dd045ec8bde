"""authclient - lets other mail servers ask auth, in Dovecot's auth client protocol

Summary
    auth-client  unix  n  -  n  -  -  authclient

Description
    Speaks the protocol that Dovecot's login processes speak to its auth server (version 1.2), on a UNIX socket, and
    asks auth. Postfix uses it with ``smtpd_sasl_type = dovecot`` and ``smtpd_sasl_path``, Exim with the authenticator
    ``dovecot``; so a Postfix that is there can authenticate its users against our accounts.

    Who may ask is said by ``authorized_auth_users``: the login names of the connecting processes.

Standards
    Dovecot's authentication protocol, client side, 1.2: AUTH, CONT, CANCEL; OK, CONT, FAIL.

Security
    Sees passwords on their way, and keeps none. Touches no file and has no network.

Bugs
    The master protocol (user look-ups by other programs) is not served.

See also
    Dovecot's Authentication Protocol document, Postfix SASL_README.
"""
