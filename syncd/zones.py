"""Which time zone does a name mean?  One way for all who have one in their settings."""

import datetime as dt
import zoneinfo

UTC = "UTC"

NONE_HERE = (
    "this machine knows no time zones: install tzdata (Debian's package of that name, or "
    '`pip install tzdata` into syncd\'s environment); "UTC" needs none'
)


class NoZonesError(LookupError):
    """Neither the system nor the package tzdata has a time zone; says what to install."""

    def __init__(self) -> None:
        super().__init__(NONE_HERE)


def zone(name: str) -> dt.tzinfo:
    """The zone of that name; UTC is there without any database.

    Raises LookupError if there is none of that name, NoZonesError if there are none at all.
    """
    if name == UTC:
        return dt.UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        # A folder of zones, a path that leads out of them, a name that nobody has.
        if not names():
            raise NoZonesError from None
        raise LookupError(name) from None


def names() -> set[str]:
    """All that there are; it reads a whole folder, so only for who was told a wrong one."""
    return zoneinfo.available_timezones()
