"""What the next hop of a job says to its recipients. Pure."""

from tubepost.common.mail import dsn

UNAVAILABLE = "no reason was given in the configuration"


def verdict(service: str, nexthop: str) -> tuple[str, str]:
    """(enhanced status, reason) for a job with this next hop, taken by the service ``error`` or ``retry``.

    Raises ValueError for a service of another name: whether to bounce or to wait is told by the name alone.
    """
    if service not in ("error", "retry"):
        raise ValueError(f"a service of the error program must be named error or retry in master.cf, not {service}")
    first = "5" if service == "error" else "4"
    code, reason = dsn.split(nexthop.strip(), f"{first}.0.0")
    if code[0] != first:
        # error:4.x.x must not keep mail for ever, retry:5.x.x must not lose it.
        code = f"{first}.0.0"
    return code, reason.strip() or UNAVAILABLE
