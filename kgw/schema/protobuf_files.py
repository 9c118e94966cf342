"""A registered Protobuf schema with its imports as a descriptor, in a pool that is its own."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError

from kgw.schema.model import RegisteredSchema, ResolvedSchema, SchemaType, Undecodable
from kgw.schema.protobuf_compiler import compile_files, safe_name
from kgw.schema.protobuf_known import RESERVED, known_files

#: What the schema itself is called among its imports; a registry does not tell.
ROOT = "kgw-schema.proto"
#: Bytes of a schema with all that it imports.
MOST_BYTES = 8 << 20
#: Files that a schema imports, directly or not.
MOST_IMPORTS = 500

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")


def file_descriptor(resolved: ResolvedSchema) -> Any:
    """
    The descriptor of a schema's file; it blocks until protoc has compiled it, and may be called on any thread.

    Schemas and imports are taken as text and as base64 of a C{FileDescriptorProto}, mixed. What is in L{known_files}
    need not be among the imports.

    @return: a C{google.protobuf.descriptor.FileDescriptor}, of a pool that has nothing but this schema's files.
    @raise Undecodable: it cannot be used: it does not compile, an import is missing or has a name that no file may
        have, it is too large.
    @raise kgw.schema.protobuf_compiler.CompilerUnavailable: the compiler cannot be run for now.
    """
    _bound(resolved)
    texts: dict[str, str] = {}
    compiled: dict[str, Any] = {}
    for name, schema in {**resolved.imports, ROOT: resolved.schema}.items():
        if schema.type is not SchemaType.PROTOBUF:
            raise Undecodable("a Protobuf schema imports what is none")
        if name.startswith(RESERVED) and name in known_files():
            continue
        file = _from_base64(schema.text, name)
        if file is None:
            texts[name] = schema.text
        else:
            compiled[name] = file
    known = {name: data for name, data in known_files().items() if name not in texts and name not in compiled}
    return _pooled(_compile(texts, compiled, known))


def _bound(resolved: ResolvedSchema) -> None:
    if len(resolved.imports) > MOST_IMPORTS:
        raise Undecodable(f"the schema imports more than {MOST_IMPORTS} files")
    if ROOT in resolved.imports or not all(map(safe_name, resolved.imports)):
        raise Undecodable("the schema imports by a name that no file may have")
    schemas: list[RegisteredSchema] = [resolved.schema, *resolved.imports.values()]
    if sum(len(schema.text) for schema in schemas) > MOST_BYTES:
        raise Undecodable(f"the schema has more than {MOST_BYTES >> 20} MiB with its imports")


def _from_base64(text: str, name: str) -> Any:
    """A C{FileDescriptorProto} under its name here; C{None}: it is text of another kind."""
    stripped = text.strip()
    # no .proto file is without a blank, a brace or a semicolon
    if not _BASE64.fullmatch(stripped):
        return None
    try:
        data = base64.b64decode(stripped.translate({ord("-"): "+", ord("_"): "/"}), validate=True)
        file = descriptor_pb2.FileDescriptorProto.FromString(data)
    except (binascii.Error, DecodeError) as error:
        raise Undecodable("the schema is base64 of no descriptor") from error
    file.name = name
    return file


def _compile(texts: Mapping[str, str], compiled: Mapping[str, Any], known: Mapping[str, bytes]) -> dict[str, Any]:
    """
    The schema and all it imports as C{FileDescriptorProto}s.

    Descriptors go to protoc as texts do. It finds what contradicts itself in them, where the library that makes pools
    of them takes things for granted: that the entry of a map has a key, to begin with.
    """
    files = [*known.values(), *(file.SerializeToString() for file in compiled.values())]
    given = descriptor_pb2.FileDescriptorSet(
        file=[descriptor_pb2.FileDescriptorProto.FromString(data) for data in files]
    )
    # imports that nothing imports are left alone
    output = compile_files(texts, given.SerializeToString(), [ROOT])
    try:
        made = descriptor_pb2.FileDescriptorSet.FromString(output)
    except DecodeError as error:
        raise Undecodable("the schema cannot be compiled: its descriptor is too deep") from error
    return {file.name: file for file in made.file}


def _pooled(files: Mapping[str, Any]) -> Any:
    """The schema's file in a pool of its own, with what it imports."""
    pool = descriptor_pool.DescriptorPool()
    try:
        # protoc puts each behind those it imports
        for file in files.values():
            pool.AddSerializedFile(file.SerializeToString())
        return pool.FindFileByName(ROOT)
    except (TypeError, ValueError, KeyError, DecodeError) as error:
        raise Undecodable("the schema's descriptor is more than the library takes") from error
