from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FilerError(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OK: _ClassVar[FilerError]
    ENTRY_NAME_TOO_LONG: _ClassVar[FilerError]
    PARENT_IS_FILE: _ClassVar[FilerError]
    EXISTING_IS_DIRECTORY: _ClassVar[FilerError]
    EXISTING_IS_FILE: _ClassVar[FilerError]
    ENTRY_ALREADY_EXISTS: _ClassVar[FilerError]
    PRECONDITION_FAILED: _ClassVar[FilerError]
OK: FilerError
ENTRY_NAME_TOO_LONG: FilerError
PARENT_IS_FILE: FilerError
EXISTING_IS_DIRECTORY: FilerError
EXISTING_IS_FILE: FilerError
ENTRY_ALREADY_EXISTS: FilerError
PRECONDITION_FAILED: FilerError

class FileChunk(_message.Message):
    __slots__ = ("file_id", "offset", "size")
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    file_id: str
    offset: int
    size: int
    def __init__(self, file_id: _Optional[str] = ..., offset: _Optional[int] = ..., size: _Optional[int] = ...) -> None: ...

class FuseAttributes(_message.Message):
    __slots__ = ("file_size", "mtime", "file_mode", "crtime")
    FILE_SIZE_FIELD_NUMBER: _ClassVar[int]
    MTIME_FIELD_NUMBER: _ClassVar[int]
    FILE_MODE_FIELD_NUMBER: _ClassVar[int]
    CRTIME_FIELD_NUMBER: _ClassVar[int]
    file_size: int
    mtime: int
    file_mode: int
    crtime: int
    def __init__(self, file_size: _Optional[int] = ..., mtime: _Optional[int] = ..., file_mode: _Optional[int] = ..., crtime: _Optional[int] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("name", "is_directory", "chunks", "attributes", "extended", "content")
    class ExtendedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    IS_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    EXTENDED_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    is_directory: bool
    chunks: _containers.RepeatedCompositeFieldContainer[FileChunk]
    attributes: FuseAttributes
    extended: _containers.ScalarMap[str, bytes]
    content: bytes
    def __init__(self, name: _Optional[str] = ..., is_directory: _Optional[bool] = ..., chunks: _Optional[_Iterable[_Union[FileChunk, _Mapping]]] = ..., attributes: _Optional[_Union[FuseAttributes, _Mapping]] = ..., extended: _Optional[_Mapping[str, bytes]] = ..., content: _Optional[bytes] = ...) -> None: ...

class WriteCondition(_message.Message):
    __slots__ = ("clauses",)
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        NONE: _ClassVar[WriteCondition.Kind]
        IF_NOT_EXISTS: _ClassVar[WriteCondition.Kind]
        IF_EXISTS: _ClassVar[WriteCondition.Kind]
        IF_CHUNKS_EQUAL: _ClassVar[WriteCondition.Kind]
    NONE: WriteCondition.Kind
    IF_NOT_EXISTS: WriteCondition.Kind
    IF_EXISTS: WriteCondition.Kind
    IF_CHUNKS_EQUAL: WriteCondition.Kind
    class Clause(_message.Message):
        __slots__ = ("kind", "fids")
        KIND_FIELD_NUMBER: _ClassVar[int]
        FIDS_FIELD_NUMBER: _ClassVar[int]
        kind: WriteCondition.Kind
        fids: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, kind: _Optional[_Union[WriteCondition.Kind, str]] = ..., fids: _Optional[_Iterable[str]] = ...) -> None: ...
    CLAUSES_FIELD_NUMBER: _ClassVar[int]
    clauses: _containers.RepeatedCompositeFieldContainer[WriteCondition.Clause]
    def __init__(self, clauses: _Optional[_Iterable[_Union[WriteCondition.Clause, _Mapping]]] = ...) -> None: ...

class LookupDirectoryEntryRequest(_message.Message):
    __slots__ = ("directory", "name")
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    directory: str
    name: str
    def __init__(self, directory: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class LookupDirectoryEntriesRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[LookupDirectoryEntryRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[LookupDirectoryEntryRequest, _Mapping]]] = ...) -> None: ...

class LookupDirectoryEntryResult(_message.Message):
    __slots__ = ("found", "entry", "error")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    found: bool
    entry: Entry
    error: str
    def __init__(self, found: _Optional[bool] = ..., entry: _Optional[_Union[Entry, _Mapping]] = ..., error: _Optional[str] = ...) -> None: ...

class LookupDirectoryEntriesResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[LookupDirectoryEntryResult]
    def __init__(self, results: _Optional[_Iterable[_Union[LookupDirectoryEntryResult, _Mapping]]] = ...) -> None: ...

class ListEntriesRequest(_message.Message):
    __slots__ = ("directory", "prefix", "startFromFileName", "inclusiveStartFrom", "limit")
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    STARTFROMFILENAME_FIELD_NUMBER: _ClassVar[int]
    INCLUSIVESTARTFROM_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    directory: str
    prefix: str
    startFromFileName: str
    inclusiveStartFrom: bool
    limit: int
    def __init__(self, directory: _Optional[str] = ..., prefix: _Optional[str] = ..., startFromFileName: _Optional[str] = ..., inclusiveStartFrom: _Optional[bool] = ..., limit: _Optional[int] = ...) -> None: ...

class ListEntriesResponse(_message.Message):
    __slots__ = ("entry",)
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    entry: Entry
    def __init__(self, entry: _Optional[_Union[Entry, _Mapping]] = ...) -> None: ...

class CreateEntryRequest(_message.Message):
    __slots__ = ("directory", "entry", "o_excl")
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    O_EXCL_FIELD_NUMBER: _ClassVar[int]
    directory: str
    entry: Entry
    o_excl: bool
    def __init__(self, directory: _Optional[str] = ..., entry: _Optional[_Union[Entry, _Mapping]] = ..., o_excl: _Optional[bool] = ...) -> None: ...

class CreateEntryResponse(_message.Message):
    __slots__ = ("error", "error_code")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    error: str
    error_code: FilerError
    def __init__(self, error: _Optional[str] = ..., error_code: _Optional[_Union[FilerError, str]] = ...) -> None: ...

class UpdateEntryRequest(_message.Message):
    __slots__ = ("directory", "entry", "condition")
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    directory: str
    entry: Entry
    condition: WriteCondition
    def __init__(self, directory: _Optional[str] = ..., entry: _Optional[_Union[Entry, _Mapping]] = ..., condition: _Optional[_Union[WriteCondition, _Mapping]] = ...) -> None: ...

class UpdateEntryResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteEntryRequest(_message.Message):
    __slots__ = ("directory", "name", "is_delete_data", "is_recursive", "ignore_recursive_error")
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    IS_DELETE_DATA_FIELD_NUMBER: _ClassVar[int]
    IS_RECURSIVE_FIELD_NUMBER: _ClassVar[int]
    IGNORE_RECURSIVE_ERROR_FIELD_NUMBER: _ClassVar[int]
    directory: str
    name: str
    is_delete_data: bool
    is_recursive: bool
    ignore_recursive_error: bool
    def __init__(self, directory: _Optional[str] = ..., name: _Optional[str] = ..., is_delete_data: _Optional[bool] = ..., is_recursive: _Optional[bool] = ..., ignore_recursive_error: _Optional[bool] = ...) -> None: ...

class DeleteEntryResponse(_message.Message):
    __slots__ = ("error",)
    ERROR_FIELD_NUMBER: _ClassVar[int]
    error: str
    def __init__(self, error: _Optional[str] = ...) -> None: ...

class EventNotification(_message.Message):
    __slots__ = ("old_entry", "new_entry", "delete_chunks", "new_parent_path")
    OLD_ENTRY_FIELD_NUMBER: _ClassVar[int]
    NEW_ENTRY_FIELD_NUMBER: _ClassVar[int]
    DELETE_CHUNKS_FIELD_NUMBER: _ClassVar[int]
    NEW_PARENT_PATH_FIELD_NUMBER: _ClassVar[int]
    old_entry: Entry
    new_entry: Entry
    delete_chunks: bool
    new_parent_path: str
    def __init__(self, old_entry: _Optional[_Union[Entry, _Mapping]] = ..., new_entry: _Optional[_Union[Entry, _Mapping]] = ..., delete_chunks: _Optional[bool] = ..., new_parent_path: _Optional[str] = ...) -> None: ...

class SubscribeMetadataRequest(_message.Message):
    __slots__ = ("client_name", "path_prefix", "since_ns", "signature", "path_prefixes", "client_id", "client_epoch")
    CLIENT_NAME_FIELD_NUMBER: _ClassVar[int]
    PATH_PREFIX_FIELD_NUMBER: _ClassVar[int]
    SINCE_NS_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    PATH_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_EPOCH_FIELD_NUMBER: _ClassVar[int]
    client_name: str
    path_prefix: str
    since_ns: int
    signature: int
    path_prefixes: _containers.RepeatedScalarFieldContainer[str]
    client_id: int
    client_epoch: int
    def __init__(self, client_name: _Optional[str] = ..., path_prefix: _Optional[str] = ..., since_ns: _Optional[int] = ..., signature: _Optional[int] = ..., path_prefixes: _Optional[_Iterable[str]] = ..., client_id: _Optional[int] = ..., client_epoch: _Optional[int] = ...) -> None: ...

class SubscribeMetadataResponse(_message.Message):
    __slots__ = ("directory", "event_notification", "ts_ns", "events")
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    EVENT_NOTIFICATION_FIELD_NUMBER: _ClassVar[int]
    TS_NS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    directory: str
    event_notification: EventNotification
    ts_ns: int
    events: _containers.RepeatedCompositeFieldContainer[SubscribeMetadataResponse]
    def __init__(self, directory: _Optional[str] = ..., event_notification: _Optional[_Union[EventNotification, _Mapping]] = ..., ts_ns: _Optional[int] = ..., events: _Optional[_Iterable[_Union[SubscribeMetadataResponse, _Mapping]]] = ...) -> None: ...

class LogEntry(_message.Message):
    __slots__ = ("ts_ns", "partition_key_hash", "data", "key", "offset")
    TS_NS_FIELD_NUMBER: _ClassVar[int]
    PARTITION_KEY_HASH_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    ts_ns: int
    partition_key_hash: int
    data: bytes
    key: bytes
    offset: int
    def __init__(self, ts_ns: _Optional[int] = ..., partition_key_hash: _Optional[int] = ..., data: _Optional[bytes] = ..., key: _Optional[bytes] = ..., offset: _Optional[int] = ...) -> None: ...

class KvGetRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    def __init__(self, key: _Optional[bytes] = ...) -> None: ...

class KvGetResponse(_message.Message):
    __slots__ = ("value", "error")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    value: bytes
    error: str
    def __init__(self, value: _Optional[bytes] = ..., error: _Optional[str] = ...) -> None: ...

class LockRequest(_message.Message):
    __slots__ = ("name", "seconds_to_lock", "renew_token", "is_moved", "owner")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SECONDS_TO_LOCK_FIELD_NUMBER: _ClassVar[int]
    RENEW_TOKEN_FIELD_NUMBER: _ClassVar[int]
    IS_MOVED_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    name: str
    seconds_to_lock: int
    renew_token: str
    is_moved: bool
    owner: str
    def __init__(self, name: _Optional[str] = ..., seconds_to_lock: _Optional[int] = ..., renew_token: _Optional[str] = ..., is_moved: _Optional[bool] = ..., owner: _Optional[str] = ...) -> None: ...

class LockResponse(_message.Message):
    __slots__ = ("renew_token", "lock_owner", "lock_host_moved_to", "error", "generation")
    RENEW_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LOCK_OWNER_FIELD_NUMBER: _ClassVar[int]
    LOCK_HOST_MOVED_TO_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    renew_token: str
    lock_owner: str
    lock_host_moved_to: str
    error: str
    generation: int
    def __init__(self, renew_token: _Optional[str] = ..., lock_owner: _Optional[str] = ..., lock_host_moved_to: _Optional[str] = ..., error: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class UnlockRequest(_message.Message):
    __slots__ = ("name", "renew_token", "is_moved")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RENEW_TOKEN_FIELD_NUMBER: _ClassVar[int]
    IS_MOVED_FIELD_NUMBER: _ClassVar[int]
    name: str
    renew_token: str
    is_moved: bool
    def __init__(self, name: _Optional[str] = ..., renew_token: _Optional[str] = ..., is_moved: _Optional[bool] = ...) -> None: ...

class UnlockResponse(_message.Message):
    __slots__ = ("error", "moved_to")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MOVED_TO_FIELD_NUMBER: _ClassVar[int]
    error: str
    moved_to: str
    def __init__(self, error: _Optional[str] = ..., moved_to: _Optional[str] = ...) -> None: ...

class FindLockOwnerRequest(_message.Message):
    __slots__ = ("name", "is_moved")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IS_MOVED_FIELD_NUMBER: _ClassVar[int]
    name: str
    is_moved: bool
    def __init__(self, name: _Optional[str] = ..., is_moved: _Optional[bool] = ...) -> None: ...

class FindLockOwnerResponse(_message.Message):
    __slots__ = ("owner",)
    OWNER_FIELD_NUMBER: _ClassVar[int]
    owner: str
    def __init__(self, owner: _Optional[str] = ...) -> None: ...
