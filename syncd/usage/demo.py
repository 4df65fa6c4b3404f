"""`syncd demo`: what can be typed."""

import click

from syncd.usage.later import later


@click.command()
@click.option("--real-time", is_flag=True, help="At the API's real limits: eleven minutes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@later
def demo() -> None:
    """Run the main job on a mock API, with a kill -9 in the middle, and prove it.

    Starts a mock of an ads API (ten requests a window, 503s, requests that are never
    answered, a slow call for every record) and an embedded Postgres, runs the daemon,
    kills it, starts it again, and compares the table with the API record by record.
    Exit status 0 only if they are equal.
    """
