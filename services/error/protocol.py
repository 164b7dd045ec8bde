"""What the next hop of a job says to its recipients. Pure."""

from tubepost.common.mail import dsn

UNAVAILABLE = "no reason was given in the configuration"


def verdict(service: str, nexthop: str, bouncing: str = "error", waiting: str = "retry") -> tuple[str, str]:
    """(enhanced status, reason) for a job with this next hop, taken by a service of this name in master.cf.

    Raises ValueError for a name that is neither of the two: whether to bounce or to wait is told by the name alone.
    """
    if service not in (bouncing, waiting):
        raise ValueError(
            f"a service of the error program must be named {bouncing} or {waiting} in master.cf, not {service}"
        )
    first = "5" if service == bouncing else "4"
    code, reason = dsn.split(nexthop.strip(), f"{first}.0.0")
    if code[0] != first:
        # error:4.x.x must not keep mail for ever, retry:5.x.x must not lose it.
        code = f"{first}.0.0"
    return code, reason.strip() or UNAVAILABLE
