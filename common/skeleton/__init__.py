"""Floor 3: how a program lives. ``life`` is the one ceremony; stream, request and worker vary the loop.

``request`` answers questions (rewrite, anvil; with ``woken`` also qmgr and pickup), ``worker`` takes delivery jobs,
``stream`` serves TCP clients.
"""
