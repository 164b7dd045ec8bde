"""The words of mail as values: addresses, header fields, dates, status codes, MIME structure.

Floor 0, pure: no I/O and no clock; the time is an argument. Addresses are ``str`` in *external* form (RFC 5321:
local part quoted where it must be) unless a name says *internal* (quotes and backslashes taken off). Content is
``bytes`` with lines ended by LF.
"""
