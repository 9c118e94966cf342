"""Frozen values of schemas, between the registry, the codecs and the policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from kgw.errors import ErrorCode, KafkaError


class SchemaType(StrEnum):
    """The kinds of schemas that a registry keeps, by the names it has for them."""

    AVRO = "AVRO"
    JSON = "JSON"
    PROTOBUF = "PROTOBUF"


class Reference(NamedTuple):
    """
    What a schema names and another one says.

    @ivar name: what the schema calls it: a full name (Avro), a path of an import (Protobuf) or a URL (JSON Schema).
    @ivar subject: where the registry has it.
    @ivar version: of the subject; -1 is the latest.
    """

    name: str
    subject: str
    version: int


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """
    A schema as the registry gives it.

    @ivar id: the registry's number of it, 1 or more; 0 where it was asked for by its GUID only.
    @ivar text: the schema; of Protobuf the text of a .proto file or the base64 of a C{FileDescriptorProto}.
    @ivar guid: 16 bytes, where the registry told it.
    @ivar version: in the subject it was asked for by; 0 where it was not asked for so.
    """

    id: int
    type: SchemaType
    text: str
    references: tuple[Reference, ...] = ()
    guid: bytes | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class ResolvedSchema:
    """
    A schema with all it refers to.

    @ivar imports: what it refers to, directly or not, by the name it has there; each behind those it refers to itself.
    """

    schema: RegisteredSchema
    imports: Mapping[str, RegisteredSchema] = field(default_factory=dict)


class RegistryState(NamedTuple):
    """
    How a registry answered when it was last asked.

    @ivar available: it did, or nobody has asked yet.
    @ivar why: what is wrong where it is not, for people.
    """

    available: bool = True
    why: str = ""


class SchemaNotFound(KafkaError):
    """
    The registry has no such schema, subject or version, or none of use: what it refers to is not there, or is too much.

    C{INVALID_RECORD} for a record that names it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.INVALID_RECORD, message)


class RegistryUnauthorised(KafkaError):
    """The registry does not let kgw in (HTTP 401 or 403), which its operator has to change; clients may try again."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.REQUEST_TIMED_OUT, message)


class RegistryUnavailable(KafkaError):
    """No registry answers, or not with what it should: C{REQUEST_TIMED_OUT}, after which clients try again."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.REQUEST_TIMED_OUT, message)


class Undecodable(Exception):
    """
    A value is not what its schema says, or a schema cannot be used.

    It never leaves this package: the policy says what becomes of the record.

    @ivar reason: for people, the same for all values of which the same is wrong: nothing of the data stands in it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
