"""The supervising process: reads master.cf, opens sockets, keeps children.

Summary
    python -m tubepost.master -c CONFIG_DIRECTORY   (what ``tubepost run`` and ``tubepost start`` execute)

It runs until SIGTERM or SIGINT (stop: drain in order), SIGHUP (reload), and answers ``tubepost status``. It may run as
process 1 of a container.

Security
    It runs with the privileges that it was started with and has to be kept simple: it never parses mail or network
    input, reads only main.cf, master.cf and what its children say about themselves, and imports neither ZeroMQ nor
    pydantic. Children get their privileges taken away in ``common/skeleton/privileges.py``.

Diagnostics
    Exit status 0 after a stop, 78 for a wrong configuration, 69 when another master runs this instance.
"""
