"""SASL mechanisms as machines (floor 0, pure): challenges in, responses out, for a server and for a client."""
