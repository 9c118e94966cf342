"""What the codecs of Avro, JSON Schema and Protobuf have in common."""

from __future__ import annotations

from typing import Protocol

from kgw.schema.columns import RecordOf


class Codec(Protocol):
    """
    Reads the values of one schema, and makes rows of them; made once for a schema and kept.

    @ivar format: SeaweedMQ's name of the format: C{AVRO}, C{JSON_SCHEMA} or C{PROTOBUF}.
    """

    format: str

    def check(self, payload: bytes, indexes: tuple[int, ...] | None = None) -> None:
        """
        See whether a value is what the schema says.

        @param payload: what stands behind magic byte and id; of Protobuf with the message indexes in front, unless
            they are given.
        @param indexes: of a Protobuf message, where they stand in a record's header: the way to the message from the
            file down.
        @raise Undecodable: it is not.
        """

    def row(self, payload: bytes, indexes: tuple[int, ...] | None = None) -> tuple[RecordOf, bytes]:
        """
        A value as columns; arguments as of L{check}.

        @return: the columns of the value's type, always the same object for the same type, and the fields of its
            C{RecordValue} as bytes: entries of the map in field 1, and nothing else. It has no entry for null.
        @raise Undecodable: it is not what the schema says.
        """
