"""How a command ends when not by a tagged answer (pure)."""


class Gone(Exception):
    """The client is."""


class Answered(Exception):
    """The tagged answer was sent by the command itself."""
