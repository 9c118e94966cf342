from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

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
