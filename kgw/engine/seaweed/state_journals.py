"""The journals that state stores keep beside their facts: whose there are, and how what one left is finished."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from twisted.logger import Logger

from kgw.engine.seaweed import state_journal
from kgw.engine.seaweed.state_files import Entries, Facts
from kgw.errors import ErrorCode, KafkaError

#: The journal of a store that knows of no others, as earlier versions kept it.
OLD = ""

_FOLDER = re.compile(r"[0-9]{16}")
_HEAD = "head"


class Journals:
    """
    All journals of a root: folders C{+journal/<journal>}, and in each C{<number>/<number>}, entries in folders.

    The folder with the largest number is in force, once it has a C{head}, which says up to which number its entries are
    in their places; all that older folders say was done before it was made.
    """

    log = Logger()

    def __init__(self, filer: Entries, facts: Facts, root: str) -> None:
        self._filer = filer
        self._facts = facts
        self._root = f"{root}/+journal"

    def path(self, journal: str) -> str:
        """The folder of a journal."""
        return f"{self._root}/{journal}" if journal else self._root

    async def names(self) -> list[str]:
        """The journals that are there; L{OLD} among them where there is one of a single store."""
        found = [entry.name for entry in await self._filer.list(self._root) if entry.is_directory]
        named = [name for name in found if _FOLDER.fullmatch(name) is None]
        return named if len(named) == len(found) else [OLD, *named]

    async def folders(self, journal: str) -> list[str]:
        """The names of a journal's folders, the one in force last."""
        entries = await self._filer.list(self.path(journal))
        return sorted(entry.name for entry in entries if entry.is_directory and _FOLDER.fullmatch(entry.name))

    async def begin(self, journal: str, number: int) -> None:
        """Make a folder, which thereby is in force."""
        await self._filer.put(f"{self.path(journal)}/{name_of(number)}", _HEAD, head(0))

    async def finish(self, journal: str) -> None:
        """
        Put in their places what a store left that is no more, and remove its journal.

        Once this has returned it is done: what the store may still write into its journal counts for nothing, and
        finishing it again does nothing. Where it is broken off before, it is as it was.

        @raise KafkaError: C{KAFKA_STORAGE_ERROR}, also where the journal is damaged.
        """
        folders = await self.folders(journal)
        while folders:
            kept = await self._kept(journal, folders[-1])
            # one that has no head never was in force: a late write made it, after the journal was removed
            if _HEAD in kept:
                await self.replay(journal, folders[-1])
                await self.begin(journal, int(folders[-1]) + 1)
                folders.append(name_of(int(folders[-1]) + 1))
                break
            await self._filer.delete(self.path(journal), folders.pop(), True)
        await self.clear(journal, folders, whole=True)

    async def clear(self, journal: str, folders: Iterable[str], whole: bool = False) -> None:
        """
        Remove folders that are not in force any more, or hold nothing; what stays of them does no harm.

        @param folders: in order.
        @param whole: they are all there is of the journal.
        """
        try:
            for name in folders:
                await self._filer.delete(self.path(journal), name, True)
            if journal and whole:
                await self._filer.delete(self._root, journal)
        except KafkaError as error:
            self.log.debug("an old journal stays for now: {error}", error=error)

    async def _kept(self, journal: str, folder: str) -> dict[str, bytes]:
        return {entry.name: entry.content for entry in await self._filer.list(f"{self.path(journal)}/{folder}")}

    async def replay(self, journal: str, folder: str) -> None:
        """
        Do what one folder says.

        @raise KafkaError: C{KAFKA_STORAGE_ERROR}, also where it is damaged.
        """
        kept = await self._kept(journal, folder)
        try:
            applied = int(json.loads(kept.pop(_HEAD))["applied"])
            numbers = sorted(int(name) for name in kept)
        except (ValueError, KeyError, TypeError) as error:
            what = f"the journal of the state store in {self.path(journal)}/{folder} is damaged: {error!r}"
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, what) from error
        changes: dict[str, bytes | None] = {}
        for number in numbers:
            if number > applied:
                changes.update(state_journal.decode(kept[name_of(number)]))
        if changes:
            self.log.info("finishing {n} change(s) that an unclean stop left", n=len(changes))
        raise_any(await self._facts.write(changes))


def name_of(number: int) -> str:
    """The name of a folder, or of an entry in one."""
    return f"{number:016}"


def head(applied: int) -> bytes:
    """What says that all entries up to this number are in their places."""
    return json.dumps({"applied": applied}).encode()


def raise_any(errors: Mapping[str, KafkaError]) -> None:
    """Raise the first of these, if there is any."""
    for error in errors.values():
        raise error
