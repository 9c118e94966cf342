"""Subjects, versions and schemas in memory, numbered as a registry numbers them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from kgw.schema.model import Reference, RegisteredSchema, SchemaType


class SchemaBook:
    """
    What a registry holds, without its calls and its rules of compatibility; for tests and the twin in memory.

    Numbers are given once: the same schema under another subject has the number it has, and what is deleted keeps it.
    """

    def __init__(self) -> None:
        self._schemas: dict[int, RegisteredSchema] = {}
        self._numbers: dict[tuple[SchemaType, str, tuple[Reference, ...]], int] = {}
        self._subjects: dict[str, dict[int, int]] = {}
        self._deleted: set[tuple[str, int]] = set()

    def register(
        self, subject: str, text: str, type: SchemaType = SchemaType.AVRO, references: Iterable[Reference] = ()
    ) -> RegisteredSchema:
        """
        Make a schema the newest version of a subject, or find it among its versions.

        @return: it, with its number, GUID and version.
        """
        there = self.find(subject, text, type, references)
        if there is not None:
            return there
        content = type, text, tuple(references)
        number = self._numbers.get(content)
        if number is None:
            number = self._numbers[content] = len(self._numbers) + 1
            guid = hashlib.md5(repr((type.value, text, content[2])).encode(), usedforsecurity=False).digest()
            self._schemas[number] = RegisteredSchema(number, type, text, content[2], guid)
        versions = self._subjects.setdefault(subject, {})
        version = max(versions, default=0) + 1
        versions[version] = number
        return replace(self._schemas[number], version=version)

    def find(
        self,
        subject: str,
        text: str,
        type: SchemaType = SchemaType.AVRO,
        references: Iterable[Reference] = (),
        deleted: bool = False,
    ) -> RegisteredSchema | None:
        """The newest version of a subject that has this schema."""
        number = self._numbers.get((type, text, tuple(references)))
        for version in reversed(self.versions(subject, deleted)):
            if self._subjects[subject][version] == number:
                return replace(self._schemas[number], version=version)
        return None

    def by_id(self, number: int) -> RegisteredSchema | None:
        """The schema of a number, whether its versions are deleted or not."""
        return self._schemas.get(number)

    def by_guid(self, guid: bytes) -> RegisteredSchema | None:
        """The schema of a GUID, likewise."""
        return next((schema for schema in self._schemas.values() if schema.guid == guid), None)

    def version(self, subject: str, version: int, deleted: bool = False) -> RegisteredSchema | None:
        """
        One version of a subject.

        @param version: its number; -1 is the newest.
        @param deleted: one that is deleted is found too.
        """
        there = self.versions(subject, deleted)
        if version == -1 and there:
            version = there[-1]
        if version not in there:
            return None
        return replace(self._schemas[self._subjects[subject][version]], version=version)

    def subjects(self, deleted: bool = False) -> list[str]:
        """The names of all subjects, sorted."""
        return sorted(subject for subject in self._subjects if self.versions(subject, deleted))

    def versions(self, subject: str, deleted: bool = False) -> list[int]:
        """The versions of a subject, rising; none where there is no such subject."""
        known = self._subjects.get(subject, {})
        return [version for version in sorted(known) if deleted or (subject, version) not in self._deleted]

    def places(self, number: int, deleted: bool = False) -> list[tuple[str, int]]:
        """The subjects and versions where a schema is registered."""
        return [
            (subject, version)
            for subject in sorted(self._subjects)
            for version in self.versions(subject, deleted)
            if self._subjects[subject][version] == number
        ]

    def delete(self, subject: str, version: int | None = None) -> list[int]:
        """
        Delete a version, or all of a subject, softly: numbers and references go on leading to them.

        @return: the versions that were there.
        """
        gone = [one for one in self.versions(subject) if version in (None, one)]
        self._deleted.update((subject, one) for one in gone)
        return gone
