"""The loop and its tools.  Knows neither HTTP nor SQL: it sees both through `ports`."""
