"""What checks answer, how the log and the replies call what is judged, and enhanced codes adjusted to it. Pure."""

DUNNO, OK, REJECT = 0, 1, 2

CLIENT = "Client host"
REVERSE_CLIENT = "Unverified Client host"
CERTIFICATE = "Client certificate"
LOGIN = "SASL login name"
HELO = "Helo command"
SENDER = "Sender address"
RECIPIENT = "Recipient address"
ETRN = "Etrn command"
DATA = "Data command"
END_OF_DATA = "End-of-data"

# The address codes of RFC 3463 3.2 mean a destination; a sender has others: detail -> (sender, recipient). There is
# none for a sender that is no good: as in Postfix it is one of bad syntax, so that it can be told from a recipient.
_FITTED = {
    "1": (".1.7", ".1.1"),
    "2": (".1.8", ".1.2"),
    "3": (".1.7", ".1.3"),
    "4": (".1.7", ".1.4"),
    "5": (".1.0", ".1.5"),
    "6": (".1.7", ".1.6"),
    "7": (".1.7", ".1.3"),
    "8": (".1.8", ".1.2"),
}


def fit_status(status: str, kind: str) -> str:
    """An enhanced code from a table made to fit what is rejected: ``5.1.1`` for a sender becomes ``5.1.7``."""
    if status[1:4] != ".1.":
        return status
    if kind not in (SENDER, RECIPIENT):
        return f"{status[0]}.0.0"
    return status[0] + _FITTED.get(status[4:], (".1.0", ".1.0"))[kind == RECIPIENT]
