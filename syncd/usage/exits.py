"""The exit statuses, beside 0 for done, and 2 for what can't be typed so (click's own)."""

FAILED = 1
"""The work failed."""

DIFFERENT = 3
"""With `syncd diff --exit-code`: there are differences."""

WRONG_CONFIG = 78
"""EX_CONFIG of sysexits.h; the unit does not restart after it."""
