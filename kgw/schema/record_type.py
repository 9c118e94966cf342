"""Columns as SeaweedMQ keeps them: its C{RecordType} in protobuf's wire format and in topic.conf's JSON, and merged.

C{RecordType{fields 1: repeated Field{name 1, field_index 2, type 3, is_repeated 4, is_required 5}}},
C{Type{scalar_type 1 | record_type 2 | list_type 3}}, C{ListType{element_type 1}}. The index of a field is its place;
C{is_repeated} goes along with a list, as the engine's own gateway has it, and says nothing that the type does not.

The columns of a topic stand as they are declared; those of a record within stand by name. The engine's parquet writer
sorts the columns of a group by their names, but not the values in it: in any other order they would come to stand
under each other's names, and where their types differ it would end with a panic (SeaweedFS 4.48). Maps, which are
records without columns, are left out within records: files with such groups cannot be read. Columns that are called as
the engine calls its own are left out as well; rows have them all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kgw.schema.columns import Column, ColumnType, ListOf, RecordOf, Scalar
from kgw.schema.record_value import varint

#: How deep the types of columns may stand in one another; the engine goes down them by recursion, and so does this.
MOST_DEPTH = 32

#: The engine gives each row columns of these names; its parquet writer panics, or writes its own, where others are.
TAKEN = frozenset(("_key", "_ts_ns", "_offset"))


class UnknownRecordType(Exception):
    """What the engine keeps is no C{RecordType}, or has types that kgw does not write, as dates."""


def record_type(record: RecordOf) -> bytes:
    """
    A C{RecordType} in protobuf's wire format; the same columns make the same bytes.

    @raise ValueError: types stand deeper in one another than L{MOST_DEPTH}.
    """
    return _record_type(record, 0)


def _deeper(depth: int) -> int:
    if depth >= MOST_DEPTH:
        raise ValueError(f"columns stand in one another more than {MOST_DEPTH} deep")
    return depth + 1


def _part(number: int, data: bytes) -> bytes:
    return b"".join((bytes((number << 3 | 2,)), varint(len(data)), data))


def _record_type(record: RecordOf, depth: int) -> bytes:
    fields = []
    for index, column in enumerate(_ordered(record, depth)):
        field = [_part(1, column.name.encode())]
        if index:
            field.append(b"\x10" + varint(index))
        field.append(_part(3, _type(column.type, _deeper(depth))))
        if isinstance(column.type, ListOf):
            field.append(b"\x20\1")
        if column.required:
            field.append(b"\x28\1")
        fields.append(_part(1, b"".join(field)))
    return b"".join(fields)


def _ordered(record: RecordOf, depth: int) -> Sequence[Column]:
    if not depth:
        return [column for column in record.columns if column.name not in TAKEN]
    there = [column for column in record.columns if not _bare(column.type, depth)]
    return sorted(there, key=lambda column: column.name.encode())


def _bare(kind: ColumnType, depth: int) -> bool:
    """Whether a type comes to records without columns."""
    if isinstance(kind, Scalar):
        return False
    if isinstance(kind, ListOf):
        return _bare(kind.element, _deeper(depth))
    return all(_bare(column.type, _deeper(depth)) for column in kind.columns)


def _type(kind: ColumnType, depth: int) -> bytes:
    if isinstance(kind, Scalar):
        return b"\x08" + varint(kind)
    if isinstance(kind, RecordOf):
        return _part(2, _record_type(kind, depth))
    return _part(3, _part(1, _type(kind.element, _deeper(depth))))


def to_json(record: RecordOf) -> dict[str, Any]:
    """
    A C{RecordType} as topic.conf has it in its C{messageRecordType}: protobuf's JSON, zeros written out.

    @raise ValueError: types stand deeper in one another than L{MOST_DEPTH}.
    """
    return _json(record, 0)


def _json(record: RecordOf, depth: int) -> dict[str, Any]:
    return {
        "fields": [
            {
                "name": column.name,
                "fieldIndex": index,
                "type": _json_type(column.type, _deeper(depth)),
                "isRepeated": isinstance(column.type, ListOf),
                "isRequired": column.required,
            }
            for index, column in enumerate(_ordered(record, depth))
        ]
    }


def _json_type(kind: ColumnType, depth: int) -> dict[str, Any]:
    if isinstance(kind, Scalar):
        return {"scalarType": kind.name}
    if isinstance(kind, RecordOf):
        return {"recordType": _json(kind, depth)}
    return {"listType": {"elementType": _json_type(kind.element, _deeper(depth))}}


def from_json(found: object) -> RecordOf:
    """
    The columns that topic.conf's C{messageRecordType} says.

    A scalar that is repeated, which the engine's own gateway declares for arrays, is a list.

    @param found: parsed JSON; C{None}, as of a topic without, is no columns.
    @raise UnknownRecordType: it is nothing of the kind, or has names twice.
    """
    return RecordOf() if found is None else _record_from(found, 0)


def _record_from(found: object, depth: int) -> RecordOf:
    rows = _object(found).get("fields")
    if rows is None:
        rows = []
    if not isinstance(rows, list):
        raise UnknownRecordType("the fields of a record type are no list")
    columns: list[tuple[int, Column]] = []
    for row in map(_object, rows):
        name, index = row.get("name", ""), row.get("fieldIndex", 0)
        if not isinstance(name, str) or not isinstance(index, int):
            raise UnknownRecordType("a field of a record type has no name or no index")
        kind = _type_from(row.get("type"), depth + 1)
        if row.get("isRepeated") is True and not isinstance(kind, ListOf):
            kind = ListOf(kind)
        columns.append((index, Column(name, kind, row.get("isRequired") is True)))
    if len({column.name for _index, column in columns}) != len(columns):
        raise UnknownRecordType("two fields of a record type have one name")
    # a stable sort: where indexes are all the same they stay as they stand
    return RecordOf(tuple(column for _index, column in sorted(columns, key=lambda pair: pair[0])))


def _type_from(found: object, depth: int) -> ColumnType:
    if depth > MOST_DEPTH:
        raise UnknownRecordType(f"types stand in one another more than {MOST_DEPTH} deep")
    kind = _object(found)
    if "recordType" in kind:
        return _record_from(kind["recordType"], depth)
    if "listType" in kind:
        return ListOf(_type_from(_object(kind["listType"]).get("elementType"), depth + 1))
    scalar = kind.get("scalarType", "BOOL")
    try:
        return Scalar[scalar] if isinstance(scalar, str) else Scalar(scalar)
    except (KeyError, ValueError) as error:
        raise UnknownRecordType("a column is of a type that kgw does not write") from error


def _object(found: object) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise UnknownRecordType("a record type in JSON has something else where an object belongs")
    return found


#: What a column becomes that was the one and is now the other.
_WIDER: Mapping[frozenset[Scalar], Scalar] = {
    frozenset((Scalar.INT32, Scalar.INT64)): Scalar.INT64,
    frozenset((Scalar.FLOAT, Scalar.DOUBLE)): Scalar.DOUBLE,
    frozenset((Scalar.INT32, Scalar.FLOAT)): Scalar.DOUBLE,
    frozenset((Scalar.INT32, Scalar.DOUBLE)): Scalar.DOUBLE,
    frozenset((Scalar.INT64, Scalar.FLOAT)): Scalar.DOUBLE,
    frozenset((Scalar.INT64, Scalar.DOUBLE)): Scalar.DOUBLE,
}


def merge(old: RecordOf, new: RecordOf) -> tuple[RecordOf, list[str]]:
    """
    The columns of a topic that has had the one type and gets records of another.

    It has the columns of both: the old ones first and as they stand, required where they are required in both. Numbers
    widen: INT32 to INT64, FLOAT to DOUBLE, both together to DOUBLE. Records within are merged, and the elements of
    lists. Where types cannot be had together the old one stays.

    @return: the columns, the very object C{old} where nothing changes, and the names of those that kept another type
        than the new one's, with those they stand in before them (C{"address.street"}), elements of lists as C{"[]"}.
    """
    conflicts: list[str] = []
    merged = _merge_records(old, new, "", conflicts)
    return merged, conflicts


def _merge_records(old: RecordOf, new: RecordOf, path: str, conflicts: list[str]) -> RecordOf:
    if old == new:
        return old
    added = {column.name: column for column in new.columns}
    columns = []
    for column in old.columns:
        other = added.pop(column.name, None)
        kind = column.type
        if other is not None:
            kind = _merge_types(kind, other.type, path + column.name, conflicts)
        columns.append(Column(column.name, kind, column.required and other is not None and other.required))
    columns.extend(Column(column.name, column.type) for column in added.values())
    merged = RecordOf(tuple(columns))
    return old if merged == old else merged


def _merge_types(old: ColumnType, new: ColumnType, path: str, conflicts: list[str]) -> ColumnType:
    if old == new:
        return old
    if isinstance(old, RecordOf) and isinstance(new, RecordOf):
        return _merge_records(old, new, f"{path}.", conflicts)
    if isinstance(old, ListOf) and isinstance(new, ListOf):
        element = _merge_types(old.element, new.element, f"{path}[]", conflicts)
        return old if element == old.element else ListOf(element)
    if isinstance(old, Scalar) and isinstance(new, Scalar):
        wider = _WIDER.get(frozenset((old, new)))
        if wider is not None:
            return wider
    conflicts.append(path)
    return old
