"""IMAP as bytes and values, shared by a server and a client (floor 0, pure): grammar, names, sets, structures, sorting."""
