"""The engine's messages: generated code that is what the .proto files say, and keeps what they leave out."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.seaweed.proto import __main__ as proto
from kgw.engine.seaweed.proto import filer_pb2, master_pb2, mq_broker_pb2, mq_schema_pb2

MODULES = {
    "filer": filer_pb2,
    "master": master_pb2,
    "mq_broker": mq_broker_pb2,
    "mq_schema": mq_schema_pb2,
}


class GeneratedTests(SynchronousTestCase):
    """What C{python -m kgw.engine.seaweed.proto} made."""

    def test_modules(self) -> None:
        """The modules hold what protoc makes of the .proto files now."""
        made = self.mktemp()
        proto.compile_protos(f"--descriptor_set_out={made}")
        files = FileDescriptorSet.FromString(Path(made).read_bytes()).file
        self.assertEqual(sorted(Path(file.name).stem for file in files), sorted(MODULES))
        for file in files:
            held = FileDescriptorProto()
            MODULES[Path(file.name).stem].DESCRIPTOR.CopyToProto(held)
            # names in JSON are what the fields' names say, and in one of the two only
            for message in (*file.message_type, *(m for t in file.message_type for m in t.nested_type)):
                for field in message.field:
                    field.ClearField("json_name")
            self.assertEqual(held, file)

    def test_types(self) -> None:
        """The types for mypy name every message and field."""
        for name, module in MODULES.items():
            text = (proto.HERE / f"{name}_pb2.pyi").read_text("utf-8")
            for message in module.DESCRIPTOR.message_types_by_name.values():
                self.assertIn(f"class {message.name}(", text)
                for field in message.fields:
                    self.assertIn(f" {field.name}: ", text)


class MessageTests(SynchronousTestCase):
    """Messages of the engine."""

    def test_entry_keeps_what_is_not_known(self) -> None:
        """An entry that is read and written back keeps fields kgw does not know."""
        unknown = b"\x58\x05"  # quota, field 11
        chunk = b"\x1a\x07" + b"\x0a\x03a,1" + b"\x20\x09"  # modified_ts_ns, field 4 of a chunk
        entry = filer_pb2.Entry.FromString(b"\x0a\x01x" + chunk + unknown)
        self.assertEqual(entry.chunks[0].file_id, "a,1")
        entry.extended["k"] = b"v"
        written = entry.SerializeToString()
        self.assertIn(unknown, written)
        self.assertIn(b"\x20\x09", written)

    def test_publish_request(self) -> None:
        """A published record has the bytes the engine expects: data is field 2; key 1, value 2, ts_ns 3."""
        data = mq_broker_pb2.DataMessage(key=b"k", value=b"v", ts_ns=1)
        request = mq_broker_pb2.PublishMessageRequest(data=data)
        self.assertEqual(request.SerializeToString(), b"\x12\x08\x0a\x01k\x12\x01v\x18\x01")
