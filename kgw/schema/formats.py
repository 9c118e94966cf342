"""The codec of each kind of schema."""

from __future__ import annotations

from kgw.schema.avro import AvroCodec
from kgw.schema.codec import Codec
from kgw.schema.json_schema import JsonCodec
from kgw.schema.model import ResolvedSchema, SchemaType
from kgw.schema.protobuf import ProtobufCodec


def codec_of(resolved: ResolvedSchema) -> Codec:
    """
    Make the codec of a schema; may take as long as a compiler does, so it is called in a thread.

    @raise Undecodable: the schema cannot be used.
    @raise RegistryUnavailable: it cannot be made for now.
    """
    match resolved.schema.type:
        case SchemaType.AVRO:
            return AvroCodec(resolved)
        case SchemaType.JSON:
            return JsonCodec(resolved)
        case SchemaType.PROTOBUF:
            return ProtobufCodec(resolved)
