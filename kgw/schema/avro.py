"""Avro: what a value is as columns, by functions compiled for its schema.

Columns are the fields of the record, in their order; a schema that is no record has one column, C{value}. Types are
columns as follows, and required where null is not among them:

  - boolean, int, long, float, double, bytes, string: the same, whatever their logical type;
  - fixed: BYTES; enum: STRING, the symbol;
  - null, and what else tells nothing (a record without fields, C{fixed} of 0 bytes, an array of such): no column, and
    in unions it counts as null;
  - union of null and one type, or of one type: the column of that type, without an entry for null;
  - union of more types: a record that has the one that is there, by the name of the branch (C{int},
    C{com.example.Name}), also where two branches are numbers;
  - array: a list, in which null is left out; map: a record without columns, entries by key, null left out;
  - record: a record;
  - a record that stands in itself, what is nested deeper than 24, and what else has types in it behind 2,000 columns:
    STRING, the value as JSON (L{kgw.schema.avro_json}).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from kgw.schema.avro_compiler import compile_check, compile_row
from kgw.schema.avro_schema import parse
from kgw.schema.columns import RecordOf
from kgw.schema.model import ResolvedSchema, Undecodable


class AvroCodec:
    """
    Reads the values of one Avro schema: a L{kgw.schema.codec.Codec}.

    @ivar columns: of all its values.
    """

    format = "AVRO"

    def __init__(self, resolved: ResolvedSchema) -> None:
        """
        @raise Undecodable: the schema is none, or beyond the bounds.
        """
        try:
            self._schema = parse(resolved)
            self.columns, self._row = compile_row(self._schema)
        except RecursionError as error:
            raise Undecodable("the Avro schema is too deep") from error

    @cached_property
    def _check(self) -> Callable[[bytes], None]:
        # whoever makes rows needs it never, and it takes as long to make as the other
        return compile_check(self._schema)

    def check(self, payload: bytes, indexes: tuple[int, ...] | None = None) -> None:
        """
        See whether a value is what the schema says, to its last byte.

        @raise Undecodable: it is not.
        """
        try:
            self._check(payload)
        except (IndexError, KeyError, UnicodeDecodeError, RecursionError) as error:
            raise _complaint(error) from None

    def row(self, payload: bytes, indexes: tuple[int, ...] | None = None) -> tuple[RecordOf, bytes]:
        """
        A value as columns.

        @raise Undecodable: it is not what the schema says, or its columns have more than 16 MiB.
        """
        try:
            return self.columns, self._row(payload)
        except (IndexError, KeyError, UnicodeDecodeError, RecursionError) as error:
            raise _complaint(error) from None


def _complaint(error: Exception) -> Undecodable:
    if isinstance(error, IndexError):
        return Undecodable("the value ends too early")
    if isinstance(error, KeyError):
        return Undecodable("a boolean is neither 0 nor 1")
    if isinstance(error, RecursionError):
        return Undecodable("values stand in one another too deep")
    return Undecodable("text is not UTF-8")
