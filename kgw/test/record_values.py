"""SeaweedMQ's C{RecordType} and C{RecordValue} as google.protobuf knows them, from the engine's own descriptors."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

#: The C{FileDescriptorProto} of mq_schema.proto that weed 4.48 has in it and gives by reflection.
_MQ_SCHEMA = """
Cg9tcV9zY2hlbWEucHJvdG8SCXNjaGVtYV9wYiI5CgVUb3BpYxIcCgluYW1lc3BhY2UYASABKAlSCW5hbWVzcGFjZRISCgRuYW1lGAIgASgJUgRuYW1lIooB
CglQYXJ0aXRpb24SGwoJcmluZ19zaXplGAEgASgFUghyaW5nU2l6ZRIfCgtyYW5nZV9zdGFydBgCIAEoBVIKcmFuZ2VTdGFydBIdCgpyYW5nZV9zdG9wGAMg
ASgFUglyYW5nZVN0b3ASIAoMdW5peF90aW1lX25zGAQgASgDUgp1bml4VGltZU5zInkKBk9mZnNldBImCgV0b3BpYxgBIAEoCzIQLnNjaGVtYV9wYi5Ub3Bp
Y1IFdG9waWMSRwoRcGFydGl0aW9uX29mZnNldHMYAiADKAsyGi5zY2hlbWFfcGIuUGFydGl0aW9uT2Zmc2V0UhBwYXJ0aXRpb25PZmZzZXRzIogBCg9QYXJ0
aXRpb25PZmZzZXQSMgoJcGFydGl0aW9uGAEgASgLMhQuc2NoZW1hX3BiLlBhcnRpdGlvblIJcGFydGl0aW9uEh4KC3N0YXJ0X3RzX25zGAIgASgDUglzdGFy
dFRzTnMSIQoMc3RhcnRfb2Zmc2V0GAMgASgDUgtzdGFydE9mZnNldCI2CgpSZWNvcmRUeXBlEigKBmZpZWxkcxgBIAMoCzIQLnNjaGVtYV9wYi5GaWVsZFIG
ZmllbGRzIqMBCgVGaWVsZBISCgRuYW1lGAEgASgJUgRuYW1lEh8KC2ZpZWxkX2luZGV4GAIgASgFUgpmaWVsZEluZGV4EiMKBHR5cGUYAyABKAsyDy5zY2hl
bWFfcGIuVHlwZVIEdHlwZRIfCgtpc19yZXBlYXRlZBgEIAEoCFIKaXNSZXBlYXRlZBIfCgtpc19yZXF1aXJlZBgFIAEoCFIKaXNSZXF1aXJlZCK2AQoEVHlw
ZRI4CgtzY2FsYXJfdHlwZRgBIAEoDjIVLnNjaGVtYV9wYi5TY2FsYXJUeXBlSABSCnNjYWxhclR5cGUSOAoLcmVjb3JkX3R5cGUYAiABKAsyFS5zY2hlbWFf
cGIuUmVjb3JkVHlwZUgAUgpyZWNvcmRUeXBlEjIKCWxpc3RfdHlwZRgDIAEoCzITLnNjaGVtYV9wYi5MaXN0VHlwZUgAUghsaXN0VHlwZUIGCgRraW5kIj4K
CExpc3RUeXBlEjIKDGVsZW1lbnRfdHlwZRgBIAEoCzIPLnNjaGVtYV9wYi5UeXBlUgtlbGVtZW50VHlwZSKWAQoLUmVjb3JkVmFsdWUSOgoGZmllbGRzGAEg
AygLMiIuc2NoZW1hX3BiLlJlY29yZFZhbHVlLkZpZWxkc0VudHJ5UgZmaWVsZHMaSwoLRmllbGRzRW50cnkSEAoDa2V5GAEgASgJUgNrZXkSJgoFdmFsdWUY
AiABKAsyEC5zY2hlbWFfcGIuVmFsdWVSBXZhbHVlOgI4ASLuBAoFVmFsdWUSHwoKYm9vbF92YWx1ZRgBIAEoCEgAUglib29sVmFsdWUSIQoLaW50MzJfdmFs
dWUYAiABKAVIAFIKaW50MzJWYWx1ZRIhCgtpbnQ2NF92YWx1ZRgDIAEoA0gAUgppbnQ2NFZhbHVlEiEKC2Zsb2F0X3ZhbHVlGAQgASgCSABSCmZsb2F0VmFs
dWUSIwoMZG91YmxlX3ZhbHVlGAUgASgBSABSC2RvdWJsZVZhbHVlEiEKC2J5dGVzX3ZhbHVlGAYgASgMSABSCmJ5dGVzVmFsdWUSIwoMc3RyaW5nX3ZhbHVl
GAcgASgJSABSC3N0cmluZ1ZhbHVlEkQKD3RpbWVzdGFtcF92YWx1ZRgIIAEoCzIZLnNjaGVtYV9wYi5UaW1lc3RhbXBWYWx1ZUgAUg50aW1lc3RhbXBWYWx1
ZRI1CgpkYXRlX3ZhbHVlGAkgASgLMhQuc2NoZW1hX3BiLkRhdGVWYWx1ZUgAUglkYXRlVmFsdWUSPgoNZGVjaW1hbF92YWx1ZRgKIAEoCzIXLnNjaGVtYV9w
Yi5EZWNpbWFsVmFsdWVIAFIMZGVjaW1hbFZhbHVlEjUKCnRpbWVfdmFsdWUYCyABKAsyFC5zY2hlbWFfcGIuVGltZVZhbHVlSABSCXRpbWVWYWx1ZRI1Cgps
aXN0X3ZhbHVlGA4gASgLMhQuc2NoZW1hX3BiLkxpc3RWYWx1ZUgAUglsaXN0VmFsdWUSOwoMcmVjb3JkX3ZhbHVlGA8gASgLMhYuc2NoZW1hX3BiLlJlY29y
ZFZhbHVlSABSC3JlY29yZFZhbHVlQgYKBGtpbmQiUgoOVGltZXN0YW1wVmFsdWUSKQoQdGltZXN0YW1wX21pY3JvcxgBIAEoA1IPdGltZXN0YW1wTWljcm9z
EhUKBmlzX3V0YxgCIAEoCFIFaXNVdGMiNQoJRGF0ZVZhbHVlEigKEGRheXNfc2luY2VfZXBvY2gYASABKAVSDmRheXNTaW5jZUVwb2NoIlgKDERlY2ltYWxW
YWx1ZRIUCgV2YWx1ZRgBIAEoDFIFdmFsdWUSHAoJcHJlY2lzaW9uGAIgASgFUglwcmVjaXNpb24SFAoFc2NhbGUYAyABKAVSBXNjYWxlIiwKCVRpbWVWYWx1
ZRIfCgt0aW1lX21pY3JvcxgBIAEoA1IKdGltZU1pY3JvcyI1CglMaXN0VmFsdWUSKAoGdmFsdWVzGAEgAygLMhAuc2NoZW1hX3BiLlZhbHVlUgZ2YWx1ZXMq
ngEKCk9mZnNldFR5cGUSFgoSUkVTVU1FX09SX0VBUkxJRVNUEAASFQoRUkVTRVRfVE9fRUFSTElFU1QQBRIPCgtFWEFDVF9UU19OUxAKEhMKD1JFU0VUX1RP
X0xBVEVTVBAPEhQKEFJFU1VNRV9PUl9MQVRFU1QQFBIQCgxFWEFDVF9PRkZTRVQQGRITCg9SRVNFVF9UT19PRkZTRVQQHiqKAQoKU2NhbGFyVHlwZRIICgRC
T09MEAASCQoFSU5UMzIQARIJCgVJTlQ2NBADEgkKBUZMT0FUEAQSCgoGRE9VQkxFEAUSCQoFQllURVMQBhIKCgZTVFJJTkcQBxINCglUSU1FU1RBTVAQCBII
CgREQVRFEAkSCwoHREVDSU1BTBAKEggKBFRJTUUQC0IyWjBnaXRodWIuY29tL3NlYXdlZWRmcy9zZWF3ZWVkZnMvd2VlZC9wYi9zY2hlbWFfcGJiBnByb3Rv
Mw==
"""

_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(_MQ_SCHEMA)))


def message(name: str) -> Any:
    """The class of a message, as C{RecordType}."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"schema_pb.{name}"))


RecordType: Any = message("RecordType")
RecordValue: Any = message("RecordValue")


def plain(value: Any) -> Any:
    """What a C{Value} holds as Python has it: records are dicts, lists lists."""
    kind = value.WhichOneof("kind")
    if kind == "record_value":
        return {name: plain(one) for name, one in value.record_value.fields.items()}
    if kind == "list_value":
        return [plain(one) for one in value.list_value.values]
    return getattr(value, kind)


def kinds(value: Any) -> Any:
    """As L{plain}, with the names of the kinds in place of scalars: C{"int32_value"}."""
    kind = value.WhichOneof("kind")
    if kind == "record_value":
        return {name: kinds(one) for name, one in value.record_value.fields.items()}
    if kind == "list_value":
        return [kinds(one) for one in value.list_value.values]
    return kind


def read(fields: bytes) -> dict[str, Any]:
    """
    The values in the fields of a C{RecordValue}, by their names.

    @raise AssertionError: they are not as protobuf writes them: a name twice, or something that it does not know.
    """
    record = RecordValue.FromString(fields)
    assert record.ByteSize() == len(fields), "a name twice, or something unknown"
    return {name: plain(one) for name, one in record.fields.items()}


def read_kinds(fields: bytes) -> Mapping[str, Any]:
    """The kinds of the values in the fields of a C{RecordValue}, by their names."""
    return {name: kinds(one) for name, one in RecordValue.FromString(fields).fields.items()}
