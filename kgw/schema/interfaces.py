"""The seam of the schema registry: what the policy asks, whoever answers."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from kgw.schema.model import RegisteredSchema, ResolvedSchema


class ISchemaRegistry(Interface):
    """
    What schemas there are, as far as kgw has to know.

    Questions fail with L{SchemaNotFound<kgw.schema.model.SchemaNotFound>} where there is no such thing and it is no use
    to ask again at once, with L{RegistryUnavailable<kgw.schema.model.RegistryUnavailable>} or
    L{RegistryUnauthorised<kgw.schema.model.RegistryUnauthorised>} where nobody can tell now, and with nothing else.
    A question may be cancelled; that never fails another one. Whatever is remembered is answered at once.
    """

    state = Attribute("The L{RegistryState<kgw.schema.model.RegistryState>}: how the last question was answered.")

    def start() -> Deferred[None]:
        """Begin; fires without waiting for any answer. Questions before it fail as unavailable, and behind L{stop}."""

    def stop() -> Deferred[None]:
        """Fail all questions that wait, and let go of everything."""

    def by_id(schema_id: int) -> Deferred[ResolvedSchema]:
        """
        The schema that records name by this number, with all it refers to; deleted ones too.

        Numbers never change their meaning, so that it is remembered for as long as there is room.
        """

    def by_guid(guid: bytes) -> Deferred[ResolvedSchema]:
        """As L{by_id}, for records that name 16 bytes in a header; a registry may know of none."""

    def latest(subject: str) -> Deferred[RegisteredSchema]:
        """The newest version of a subject, a short while ago; it has C{id} and C{version}."""

    def is_under(schema: int | bytes, subject: str) -> Deferred[bool]:
        """
        Whether a schema, by number or GUID, is one of a subject's versions, a short while ago.

        As for Confluent's brokers, deleted versions are none. False where there is no such schema or subject.
        """

    def exists(subject: str) -> Deferred[bool]:
        """Whether a subject has any version that is not deleted, a short while ago."""

    def measure() -> Mapping[str, float]:
        """The registry's numbers, by the names of their metrics (docs/metrics.md); from memory, at once."""

    def describe() -> str:
        """Which registry it is, for people: its URLs."""
