"""Dates of RFC 5322 3.3: written strictly, read leniently. The time and the zone are arguments."""

import re
from datetime import UTC, datetime, timedelta, timezone

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBER = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}
# RFC 5322 4.3 obs-zone; unknown letters mean -0000.
_ZONES = {
    "ut": 0, "utc": 0, "gmt": 0, "z": 0, "est": -300, "edt": -240, "cst": -360, "cdt": -300,
    "mst": -420, "mdt": -360, "pst": -480, "pdt": -420,
}  # fmt: skip
_DATE = re.compile(
    r"\s*(?:[A-Za-z]{3,9}\s*,?\s*)?(?P<day>\d{1,2})[\s-]+(?P<month>[A-Za-z]{3,9})[\s-]+(?P<year>\d{2,4})[\s,]+"
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?(?:\.\d{1,9})?\s*"
    r"(?P<zone>[+-]\d{4}|[A-Za-z]{1,5})?"
)
_COMMENT = re.compile(r"\([^()]*\)")


def format_date(time: float, offset: int = 0, zone: str = "") -> str:
    """``Tue, 24 Nov 2026 18:20:52 +0000 (UTC)``.

    ``time`` in seconds since the epoch, ``offset`` in seconds east of UTC, ``zone`` the zone's name for people.
    """
    moment = datetime.fromtimestamp(int(time), timezone(timedelta(seconds=offset)))
    sign = "-" if offset < 0 else "+"
    hours, minutes = divmod(abs(offset) // 60, 60)
    comment = f" ({zone})" if zone else ""
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day:2d} {_MONTHS[moment.month - 1]} {moment.year:04d} "
        f"{moment.hour:02d}:{moment.minute:02d}:{moment.second:02d} {sign}{hours:02d}{minutes:02d}{comment}"
    )


def parse_date(text: str) -> tuple[int, int] | None:
    """``(time, offset)``, both in seconds, of a Date field's value; None when it is no date.

    Put up with: years of two and three digits (RFC 5322 4.3), missing day names, seconds and zones, hyphens, comments.
    """
    match = _DATE.match(_COMMENT.sub(" ", text[:200]))
    if match is None:
        return None
    month = _MONTH_NUMBER.get(match["month"][:3].lower())
    if month is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        year += 2000 if year < 50 else 1900
    elif len(match["year"]) == 3:
        year += 1900
    second = min(int(match["second"] or 0), 59)
    try:
        moment = datetime(year, month, int(match["day"]), int(match["hour"]), int(match["minute"]), second, tzinfo=UTC)
    except ValueError:
        return None
    offset = _zone_offset(match["zone"] or "")
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) - offset, offset


def _zone_offset(zone: str) -> int:
    if zone[:1] in ("+", "-"):
        seconds = int(zone[1:3]) * 3600 + int(zone[3:5]) * 60
        return -seconds if zone[0] == "-" else seconds
    return _ZONES.get(zone.lower(), 0) * 60
