"""Every served version against bytes that other codecs made."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kgw.handlers.contract import Api
from kgw.handlers.registry import ALL
from kgw.test import golden
from kgw.wire.compiler import Codec
from kgw.wire.header import decode_request_header, encode_response_header, peek_request


def codec_for(api: Api, kind: str, version: int) -> Codec[Any]:
    return api.request_codec(version) if kind == "request" else api.response_codec(version)


class VectorTests(SynchronousTestCase):
    """Message bodies."""

    def test_every_vector(self) -> None:
        """Each decodes to its value and, unless it holds unknown tags, is encoded byte for byte."""
        for api in ALL:
            for vector in golden.load(f"vectors/{api.name}"):
                for version in vector["versions"]:
                    self.check(api, vector, version)

    def check(self, api: Api, vector: dict[str, Any], version: int) -> None:
        where = f"{api.name} {vector['kind']} v{version}"
        codec = codec_for(api, vector["kind"], version)
        raw = bytes.fromhex(vector["hex"])
        want = golden.build(codec.cls, vector["value"])
        # what is in front of a body and behind it is none of its business
        got, end = codec.decode(b"\xff" * 7 + raw + b"\xff" * 3, 7)
        self.assertEqual(end, 7 + len(raw), where)
        self.assertEqual(got, want, where)
        if not vector.get("unknown_tags"):
            self.assertEqual(b"".join(codec.encode(got)).hex(), vector["hex"], where)
            self.assertEqual(b"".join(codec.encode(want)).hex(), vector["hex"], where)

    def test_all_versions_have_vectors(self) -> None:
        """No served version of any API goes without a request and a response."""
        for api in ALL:
            seen = {(v["kind"], n) for v in golden.load(f"vectors/{api.name}") for n in v["versions"]}
            served = {(kind, n) for kind in ("request", "response") for n in api.versions}
            self.assertEqual(served - seen, set(), api.name)

    def test_independent(self) -> None:
        """None of the vectors was made by kgw itself."""
        makers = {m for api in ALL for v in golden.load(f"vectors/{api.name}") for m in v["made_by"]}
        self.assertEqual({maker.split(" (")[0] for maker in makers}, {"kio", "kafka-python"})


class HeaderTests(SynchronousTestCase):
    """Request and response headers."""

    def test_requests(self) -> None:
        """Header v1, and v2 with its tags."""
        for vector in golden.load("headers"):
            if vector["header"] != "request":
                continue
            raw, want = bytes.fromhex(vector["hex"]), vector["value"]
            header = decode_request_header(raw + b"body", flexible=vector["header_version"] == 2)
            start = (want["request_api_key"], want["request_api_version"], want["correlation_id"])
            self.assertEqual(header, (*start, want["client_id"], len(raw)))
            self.assertEqual(peek_request(raw), start)

    def test_responses(self) -> None:
        """Header v0, and v1 with its empty tag section, behind the frame's size."""
        for vector in golden.load("headers"):
            if vector["header"] == "response":
                raw = bytes.fromhex(vector["hex"])
                got = encode_response_header(
                    11, vector["value"]["correlation_id"], flexible=vector["header_version"] == 1
                )
                self.assertEqual(got, (len(raw) + 11).to_bytes(4, "big") + raw)
