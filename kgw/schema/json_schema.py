"""Values of JSON Schema: checked, and as rows of columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kgw.schema.columns import RecordOf
from kgw.schema.json_check import FastCheck
from kgw.schema.json_columns import ROOT, Member, Members, column_type, plan_root
from kgw.schema.json_document import SchemaDocument
from kgw.schema.json_rows import write_fields
from kgw.schema.json_text import read_json
from kgw.schema.json_validator import FullCheck
from kgw.schema.model import ResolvedSchema, Undecodable


class JsonCodec:
    """
    A L{Codec<kgw.schema.codec.Codec>} of a JSON schema.

    C{row} refuses more than C{check}: numbers that a column cannot have as they are, as integers beyond 64 bits or
    C{1e400}, rather than change them.

    @ivar columns: of every row.
    """

    format = "JSON_SCHEMA"

    def __init__(self, resolved: ResolvedSchema) -> None:
        """
        It takes some milliseconds, for large schemas some hundreds.

        @raise Undecodable: the schema cannot be used: it is malformed or beyond our bounds, or refers to what is no
            reference of it.
        """
        try:
            document = SchemaDocument(resolved)
            plan, required = plan_root(document)
            self._check: Callable[[Any], None] = (
                FastCheck(document) if FastCheck.understands(document) else FullCheck(document)
            )
        except RecursionError:
            raise Undecodable("the schema goes down too far") from None
        self._bare = not isinstance(plan, Members)
        members = plan if isinstance(plan, Members) else Members((Member(ROOT, plan, required),))
        try:
            self._write = write_fields(members)
        except UnicodeEncodeError:
            raise Undecodable("the schema is malformed: it is not UTF-8") from None
        columns = column_type(members)
        assert isinstance(columns, RecordOf)
        self.columns = columns

    def check(self, payload: bytes, indexes: tuple[int, ...] | None = None) -> None:
        """See L{Codec.check<kgw.schema.codec.Codec.check>}; C{indexes} mean nothing here."""
        self._check(read_json(payload))

    def row(self, payload: bytes, indexes: tuple[int, ...] | None = None) -> tuple[RecordOf, bytes]:
        """See L{Codec.row<kgw.schema.codec.Codec.row>}; C{indexes} mean nothing here."""
        value = read_json(payload)
        self._check(value)
        if value is None:
            return self.columns, b""
        return self.columns, self._write({ROOT: value} if self._bare else value)
