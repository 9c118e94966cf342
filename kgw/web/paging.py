"""A part of a long list at a time, and turns for others while a long list is worked on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from kgw.web.server import HttpError

T = TypeVar("T")

#: Items of a list where nobody says how many.
USUAL = 100
#: Items at most.
MOST = 1000
#: So many are worked on before others get their turn.
_SLICE = 200


@dataclass(frozen=True, slots=True)
class Page:
    """The part of a list that was asked for: C{limit} items from C{offset} on."""

    offset: int = 0
    limit: int = USUAL

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """The items of this page."""
        return items[self.offset : self.offset + self.limit]

    def frame(self, total: int) -> dict[str, Any]:
        """What goes beside the items, so that the next page can be asked for."""
        following = self.offset + self.limit
        return {"total": total, "offset": self.offset, "next_offset": following if following < total else None}


def page_of(query: Mapping[str, str]) -> Page:
    """
    The page that C{?offset=} and C{?limit=} ask for.

    @raise HttpError: 400: they are no such numbers.
    """
    offset = _number(query, "offset", 0, 0, 1 << 31)
    return Page(offset, _number(query, "limit", USUAL, 1, MOST))


def _number(query: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return usual
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise HttpError(400, f"{name} is a whole number from {least} to {most}")
    return int(text)


async def in_turns(items: Sequence[T], clock: IReactorTime, slice: int = _SLICE) -> AsyncIterator[T]:
    """The items one by one; after each C{slice} of them the reactor does other things."""
    for number, item in enumerate(items, 1):
        yield item
        if number % slice == 0:
            await deferLater(clock, 0)
