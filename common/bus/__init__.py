"""Requests between programs: wire models to ZeroMQ frames and back. The only place that knows ZeroMQ.

A conversation runs over a few connections (*lanes*), from a caller's DEALER sockets to one worker's ROUTER each: the
kernel spreads connections over the workers that share a listening socket. The first frame is a kind and a request
number, the second the versioned name of the message and its JSON, further frames are payload.
"""

from tubepost.common.bus.client import Client, Upload
from tubepost.common.bus.context import Bus
from tubepost.common.bus.errors import BusError, Forbidden, Refusal, Unavailable
from tubepost.common.bus.server import Handler, Request, Server

__all__ = [
    "Bus",
    "BusError",
    "Client",
    "Forbidden",
    "Handler",
    "Refusal",
    "Request",
    "Server",
    "Unavailable",
    "Upload",
]
