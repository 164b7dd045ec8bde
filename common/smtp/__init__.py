"""The grammar of SMTP as pure values and machines, shared by the servers (smtpd, lmtpd) and the clients (smtp, lmtp).

========== ==============================================================================================
command    command lines taken apart: verb, MAIL/RCPT path, ESMTP parameters (RFC 5321 4.1)
extensions EHLO keywords, made and read (RFC 1869, 5321 4.1.1.1)
replies    the client's side: replies read from bytes as they come (RFC 5321 4.2)
dots       the content of DATA, both directions: line ends, dot-stuffing, end of data (RFC 5321 4.5.2)
content    a message as it arrives at a server: counted, held to the limit, by DATA or BDAT (RFC 3030)
xtext      the encoding of ENVID and ORCPT values (RFC 3461 4, RFC 6533 3)
========== ==============================================================================================

Nothing here does I/O or knows the time. Whatever is fed in pieces gives the same result however it was cut.
"""
