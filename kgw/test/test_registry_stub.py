"""The stub of a registry answers as Confluent's does, so that what passes with it passes there."""

from __future__ import annotations

import base64
import json
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from treq.testing import StubTreq
from twisted.trial.unittest import SynchronousTestCase

from kgw.test.registry import StubRegistry

ITEM = (
    'syntax = "proto3"; package shop; import "google/protobuf/timestamp.proto";'
    " message Item { string sku = 1; google.protobuf.Timestamp at = 2; }"
)
ORDER = 'syntax = "proto3"; import "shop/item.proto"; message Order { shop.Item item = 1; }'


class StubTests(SynchronousTestCase):
    """Calls and their answers."""

    def setUp(self) -> None:
        self.stub = StubRegistry()
        # its calls are attributes that nobody has declared
        self.treq: Any = StubTreq(self.stub)

    def call(self, call: str, **body: Any) -> tuple[int, Any]:
        """One call, C{GET /subjects}; its status and JSON."""
        method, _, uri = call.partition(" ")
        data = json.dumps(body).encode() if body else None
        answer = self.successResultOf(self.treq.request(method, f"http://registry{uri}", data=data))
        return answer.code, json.loads(self.successResultOf(answer.text()))

    def refused(self, call: str, **body: Any) -> int:
        """The error code of a call that fails, whose status goes with it."""
        status, said = self.call(call, **body)
        self.assertIsInstance(said["message"], str)
        self.assertTrue(str(said["error_code"]).startswith(str(status)), said)
        return int(said["error_code"])

    def test_versions(self) -> None:
        """Registering is idempotent within a subject, and the same schema has the same number everywhere."""
        for subject, text, number, version in (
            *(("a", '"int"', 1, 1), ("a", '"int"', 1, 1), ("b", '"int"', 1, 1)),
            *(("a", '"long"', 2, 2), ("c%2Fd%3Ae", '"int"', 1, 1)),
        ):
            status, said = self.call(f"POST /subjects/{subject}/versions?normalize=False", schema=text)
            self.assertEqual((status, said["id"], said["version"]), (200, number, version))
        self.assertEqual(self.call("GET /subjects"), (200, ["a", "b", "c/d:e"]))
        self.assertEqual(self.call("GET /subjects/a/versions"), (200, [1, 2]))
        for name in ("latest", "-1", "2"):
            said = self.call(f"GET /subjects/a/versions/{name}")[1]
            self.assertEqual((said["subject"], said["version"], said["id"], said["schema"]), ("a", 2, 2, '"long"'))
            self.assertNotIn("schemaType", said)
        places = [{"subject": "a", "version": 1}, {"subject": "b", "version": 1}, {"subject": "c/d:e", "version": 1}]
        self.assertEqual(self.call("GET /schemas/ids/1/versions"), (200, places))
        self.assertEqual(self.call("GET /schemas/ids/1/subjects"), (200, ["a", "b", "c/d:e"]))
        self.assertEqual(self.call("GET /schemas/ids/1/schema"), (200, "int"))
        guid = self.call("GET /schemas/ids/1?fetchMaxId=false&subject=a")[1]["guid"]
        self.assertEqual(self.call(f"GET /schemas/guids/{guid}")[1]["schema"], '"int"')
        self.assertEqual(self.call(f"GET /schemas/guids/{guid}/ids"), (200, [{"context": ".", "id": 1}]))

    def test_look_up(self) -> None:
        self.assertEqual(self.refused("POST /subjects/a", schema='"int"'), 40401)
        self.call("POST /subjects/a/versions", schema='"int"')
        self.assertEqual(self.call("POST /subjects/a?normalize=False&deleted=False", schema='"int"')[1]["version"], 1)
        self.assertEqual(self.refused("POST /subjects/a", schema='"long"'), 40403)

    def test_deleted(self) -> None:
        """Softly: found where it is asked for, and by its number."""
        for text in ('"int"', '"long"'):
            self.call("POST /subjects/a/versions", schema=text)
        self.assertEqual(self.call("DELETE /subjects/a/versions/2"), (200, 2))
        self.assertEqual(self.refused("GET /subjects/a/versions/2"), 40402)
        self.assertEqual(self.call("GET /subjects/a/versions/2?deleted=true")[0], 200)
        self.assertEqual(self.call("DELETE /subjects/a"), (200, [1]))
        self.assertEqual(self.refused("GET /subjects/a/versions"), 40401)
        self.assertEqual(self.call("GET /subjects/a/versions?deleted=true"), (200, [1, 2]))
        self.assertEqual(self.call("GET /schemas/ids/2")[1]["schema"], '"long"')
        self.assertEqual(self.call("GET /schemas/ids/2/versions"), (200, []))

    def test_errors(self) -> None:
        for call, code in (
            ("GET /subjects/a/versions/latest", 40401),
            ("GET /subjects/a/versions/abc", 42202),
            ("GET /subjects/a/versions/0", 42202),
            ("GET /schemas/ids/1", 40403),
            ("GET /schemas/ids/1/versions", 40403),
            ("GET /schemas/guids/00000000-0000-0000-0000-000000000000", 40403),
            ("GET /associations/resources/-/t?resourceType=topic&associationType=value", 404),
            ("GET /config/a", 40408),
            ("GET /mode/a", 40409),
        ):
            self.assertEqual(self.refused(call), code, call)
        self.assertEqual(self.refused("POST /subjects/a/versions", schema="{"), 42201)
        self.assertEqual(self.refused("POST /subjects/a/versions", schema="{}", schemaType="THRIFT"), 42201)
        missing = [{"name": "x", "subject": "x", "version": 1}]
        self.assertEqual(self.refused("POST /subjects/a/versions", schema="{}", references=missing), 42201)

    def test_settings(self) -> None:
        """What kafkajs' client sets before it registers, and others read."""
        self.assertEqual(self.call("GET /config"), (200, {"compatibilityLevel": "BACKWARD"}))
        self.assertEqual(self.call("PUT /config/a", compatibility="FULL"), (200, {"compatibility": "FULL"}))
        self.assertEqual(self.call("GET /config/a"), (200, {"compatibilityLevel": "FULL"}))
        self.assertEqual(self.call("GET /config/b?defaultToGlobal=true"), (200, {"compatibilityLevel": "BACKWARD"}))
        self.assertEqual(self.call("GET /mode"), (200, {"mode": "READWRITE"}))
        self.assertEqual(self.refused("POST /compatibility/subjects/a/versions/latest", schema='"int"'), 40401)
        self.call("POST /subjects/a/versions", schema='"int"')
        told = self.call("POST /compatibility/subjects/a/versions/latest?verbose=true", schema='"int"')
        self.assertEqual(told, (200, {"is_compatible": True}))
        self.assertEqual(sorted(self.call("GET /schemas/types")[1]), ["AVRO", "JSON", "PROTOBUF"])

    def test_serialized(self) -> None:
        """Text of Protobuf is told as a descriptor where that is asked for, whatever form its imports came in."""
        self.call("POST /subjects/item/versions", schema=ITEM, schemaType="PROTOBUF")
        item = self.call("GET /schemas/ids/1?format=serialized")[1]["schema"]
        self.assertEqual(FileDescriptorProto.FromString(base64.b64decode(item)).message_type[0].name, "Item")
        self.call("POST /subjects/item64/versions", schema=item, schemaType="PROTOBUF")
        for subject in ("item", "item64"):
            reference = {"name": "shop/item.proto", "subject": subject, "version": -1}
            made = self.call(
                f"POST /subjects/order-{subject}/versions", schema=ORDER, schemaType="PROTOBUF", references=[reference]
            )[1]
            self.assertEqual(made["references"], [{**reference, "version": 1}])
            said = self.call(f"GET /schemas/ids/{made['id']}?format=serialized")[1]["schema"]
            file = FileDescriptorProto.FromString(base64.b64decode(said))
            self.assertEqual((file.message_type[0].name, list(file.dependency)), ("Order", ["shop/item.proto"]))
            self.assertEqual(self.call(f"GET /schemas/ids/{made['id']}")[1]["schema"], ORDER)
