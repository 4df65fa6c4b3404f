"""A survey with a client of its own."""

from collections.abc import Callable

from syncd.app.wiring import client
from syncd.config.settings import SourceSettings
from syncd.survey.asking import Asking, Place
from syncd.survey.fetching import Fetching
from syncd.survey.survey import Survey
from syncd.survey.survey import survey as find_out


async def survey(
    source: SourceSettings, place: Place, stream: str, tell: Callable[[str], None]
) -> Survey:
    """Find out what is at a place of a source; raises a SyncdError if that is no list.

    tell: hears of each request before it is made.
    """
    async with client(source) as http:
        return await find_out(Asking(Fetching(http), tell), place, stream, http.redactor)
