from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScalarType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BOOL: _ClassVar[ScalarType]
    INT32: _ClassVar[ScalarType]
    INT64: _ClassVar[ScalarType]
    FLOAT: _ClassVar[ScalarType]
    DOUBLE: _ClassVar[ScalarType]
    BYTES: _ClassVar[ScalarType]
    STRING: _ClassVar[ScalarType]
    TIMESTAMP: _ClassVar[ScalarType]
    DATE: _ClassVar[ScalarType]
    DECIMAL: _ClassVar[ScalarType]
    TIME: _ClassVar[ScalarType]
BOOL: ScalarType
INT32: ScalarType
INT64: ScalarType
FLOAT: ScalarType
DOUBLE: ScalarType
BYTES: ScalarType
STRING: ScalarType
TIMESTAMP: ScalarType
DATE: ScalarType
DECIMAL: ScalarType
TIME: ScalarType

class Topic(_message.Message):
    __slots__ = ("namespace", "name")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Partition(_message.Message):
    __slots__ = ("ring_size", "range_start", "range_stop", "unix_time_ns")
    RING_SIZE_FIELD_NUMBER: _ClassVar[int]
    RANGE_START_FIELD_NUMBER: _ClassVar[int]
    RANGE_STOP_FIELD_NUMBER: _ClassVar[int]
    UNIX_TIME_NS_FIELD_NUMBER: _ClassVar[int]
    ring_size: int
    range_start: int
    range_stop: int
    unix_time_ns: int
    def __init__(self, ring_size: _Optional[int] = ..., range_start: _Optional[int] = ..., range_stop: _Optional[int] = ..., unix_time_ns: _Optional[int] = ...) -> None: ...

class RecordType(_message.Message):
    __slots__ = ("fields",)
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.RepeatedCompositeFieldContainer[Field]
    def __init__(self, fields: _Optional[_Iterable[_Union[Field, _Mapping]]] = ...) -> None: ...

class Field(_message.Message):
    __slots__ = ("name", "field_index", "type", "is_repeated", "is_required")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FIELD_INDEX_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    IS_REPEATED_FIELD_NUMBER: _ClassVar[int]
    IS_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    name: str
    field_index: int
    type: Type
    is_repeated: bool
    is_required: bool
    def __init__(self, name: _Optional[str] = ..., field_index: _Optional[int] = ..., type: _Optional[_Union[Type, _Mapping]] = ..., is_repeated: _Optional[bool] = ..., is_required: _Optional[bool] = ...) -> None: ...

class Type(_message.Message):
    __slots__ = ("scalar_type", "record_type", "list_type")
    SCALAR_TYPE_FIELD_NUMBER: _ClassVar[int]
    RECORD_TYPE_FIELD_NUMBER: _ClassVar[int]
    LIST_TYPE_FIELD_NUMBER: _ClassVar[int]
    scalar_type: ScalarType
    record_type: RecordType
    list_type: ListType
    def __init__(self, scalar_type: _Optional[_Union[ScalarType, str]] = ..., record_type: _Optional[_Union[RecordType, _Mapping]] = ..., list_type: _Optional[_Union[ListType, _Mapping]] = ...) -> None: ...

class ListType(_message.Message):
    __slots__ = ("element_type",)
    ELEMENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    element_type: Type
    def __init__(self, element_type: _Optional[_Union[Type, _Mapping]] = ...) -> None: ...
