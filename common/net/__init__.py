"""The network as clients see it (floor 2).

======== =============================================================================================================
dns      an asynchronous resolver with a bounded cache; outcomes are values, not exceptions
peer     the name of a client's address, believed only when it leads back to that address
connect  connections to TCP and UNIX sockets, with a timeout and a bind address
streams  a peer's bytes and ours over one connection, with deadlines and flow control
======== =============================================================================================================
"""
