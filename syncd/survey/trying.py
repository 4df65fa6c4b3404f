"""Does a kind of paging hold, and does the API give larger pages?  Found out by asking."""

from collections.abc import Mapping
from typing import Literal

import attrs

from syncd.api.paging import pagination_for
from syncd.api.shown import Redactor
from syncd.config.pages import sent_by
from syncd.config.settings import KeysetPages, NumberPages, OffsetPages, PageSettings
from syncd.errors import UnexpectedAnswer
from syncd.survey.answers import Seen, plain, read
from syncd.survey.asking import Asking, Place, Request
from syncd.survey.records import identities
from syncd.survey.signs import Candidate, candidates, next_cursor, size_params, total

LARGER = 100  # records to ask for, where a page has fewer
SIZES = 2  # parameters that are tried for it
KINDS = 4  # kinds of paging that are tried

Verdict = Literal["new", "same", "empty", "mixed", "refused"]


@attrs.frozen(kw_only=True)
class Sized:
    """What tells the API how many records a page is to have."""

    param: str
    size: int
    told: bool
    seen: Seen


@attrs.frozen(kw_only=True)
class Settled:
    """The kind of paging that the config gets."""

    page: PageSettings
    sure: bool
    why: str
    second: Seen | None = None


@attrs.define(eq=False)
class Trying:
    """Tries, for one list."""

    asking: Asking
    place: Place
    redactor: Redactor
    first: Seen
    said: Mapping[str, str]
    """The parameters that a person's address has, of its first page: they tell what pages are
    asked for by."""

    async def larger(self) -> Sized | None:
        """Ask for larger pages; None where that is of no use, or nothing comes of it."""
        count = len(self.first.raws)
        top = self._likely()[0].page
        names = size_params(self.first, top, self.said)
        for name, told in names:
            if told and self.place.params.get(name) == str(count):
                # Whoever writes a size into the address means it.
                return Sized(param=name, size=count, told=True, seen=self.first)
        if self._ended() and not any(told for _, told in names):
            return None
        for name, told in names[:SIZES]:
            if count >= LARGER and not told:
                break  # larger ones are of no use
            request = Request(place=self.place, params={name: max(LARGER, count)})
            seen = await self._read(request, f"pages of {max(LARGER, count)}, by `{name}`")
            if seen is None:
                continue
            if len(seen.raws) > count:
                whole = len(seen.raws) < LARGER and next_cursor(top, seen) is None
                size = LARGER if whole else len(seen.raws)
                return Sized(param=name, size=size, told=told, seen=seen)
            if told and compared(self.first, seen) == "same":
                return Sized(param=name, size=count, told=True, seen=seen)
        return None

    async def second_page(self, sized: Sized | None) -> Settled | None:
        """The first kind by which a second page comes; None if the list seems to have no pages."""
        base = self.first if sized is None else sized.seen
        fallback: Settled | None = None
        tried = 0
        for one in candidates(base, self.said):
            page = _with_total(_with_size(one.page, sized), base)
            cursor = next_cursor(page, base)
            if cursor is None:
                if one.told and fallback is None:
                    why = f"{one.why}; the list has one page, so that no second one was seen"
                    if isinstance(page, KeysetPages):  # of which no answer speaks by name
                        why += f", and that `{page.param}` asks for it was not tried: LOOK"
                    fallback = Settled(page=page, sure=False, why=why)
                continue
            if fallback is not None and not one.told:
                break  # a guess is worth less than what the answer tells
            if tried == KINDS:
                break
            tried += 1
            settled = await self._try(one, page, cursor, base)
            if settled is None:
                continue
            if settled.second is not None:
                return settled
            fallback = fallback or settled
        return fallback

    async def _try(
        self, one: Candidate, page: PageSettings, cursor: str, base: Seen
    ) -> Settled | None:
        asked = pagination_for(page).ask(cursor)
        request = Request(place=self.place, params=asked.params, address=asked.address)
        kind = f"kind `{page.kind}`"
        seen = await self._read(request, f"the second page, by {kind}", at=base.path)
        verdict = compared(base, seen)
        if seen is None:
            if not self.asking.stopped or not one.told:
                return None
            why = f"{one.why}; it was not tried: {self.asking.stopped}"
            return Settled(page=page, sure=False, why=why)
        if verdict == "new":
            look = not one.told or self.asking.room >= 2
            if look and isinstance(page, NumberPages | OffsetPages):
                counted = await self._counted(page, base)
                if counted is None:
                    return None
                page = counted
            why = f"{one.why}, and the second page brought {len(seen.raws)} other records"
            return Settled(page=page, sure=True, why=why, second=seen)
        if verdict == "empty" and (one.told or await self._is_first(page, base)):
            why = f"{one.why}; the page after the first one is empty"
            return Settled(page=page, sure=False, why=why)
        return None

    async def _counted(
        self, page: NumberPages | OffsetPages, base: Seen
    ) -> NumberPages | OffsetPages | None:
        """With its first number: some count from 0.  None if its first page is not the first."""
        if await self._is_first(page, base):
            return page
        from_zero = attrs.evolve(page, first=0)
        zero_based = isinstance(page, NumberPages) and await self._is_first(from_zero, base)
        return from_zero if zero_based else None

    async def _is_first(self, page: PageSettings, base: Seen) -> bool:
        """Whether its first request gives what came without it: APIs that take an unknown
        parameter for a filter give nothing.
        """
        asked = pagination_for(page).ask(None)
        request = Request(place=self.place, params=asked.params)
        seen = await self._read(request, f"the first page, by kind `{page.kind}`", at=base.path)
        return compared(base, seen) == "same"

    async def _read(self, request: Request, why: str, at: str | None = None) -> Seen | None:
        reply = await self.asking.try_to_ask(request, why)
        if reply is None or reply.status >= 300:
            return None
        try:
            return read(reply, self.redactor, at=self.first.path if at is None else at)
        except UnexpectedAnswer:
            return None

    def _likely(self) -> list[Candidate]:
        return candidates(self.first, self.said)

    def _ended(self) -> bool:
        """Whether the answer tells that it is the whole list."""
        told = [one for one in self._likely() if one.told]
        return bool(told) and all(next_cursor(one.page, self.first) is None for one in told)


def compared(base: Seen, seen: Seen | None) -> Verdict:
    """What one page is beside another."""
    if seen is None:
        return "refused"
    if not seen.raws:
        return "empty"
    before, now = identities(base.records), identities(seen.records)
    again = len(before & now) / max(len(now), 1)
    if again <= 0.2:  # rows may move between two requests
        return "new"
    return "same" if again >= 0.8 else "mixed"


def _with_total(page: PageSettings, seen: Seen) -> PageSettings:
    found = total(seen)
    return page if found is None else attrs.evolve(page, total=found.path)


def _with_size(page: PageSettings, sized: Sized | None) -> PageSettings:
    if sized is None or page.kind == "none":
        return page
    if plain(sized.param) in map(plain, sent_by(page)):
        return page
    return attrs.evolve(page, size=sized.size, size_param=sized.param)
