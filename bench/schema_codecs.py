"""What the schema codecs cost: microseconds for each record, beside a copy of its bytes and the library of its format.

  python -m bench.schema_codecs [WORDS IN NAMES OF CASES ...]

C{copy} makes new bytes of the payload's, C{library} reads it with the library that a consumer would, C{check} and
C{row} are the codec's; C{bytes} is how long payload and row are. The best of many runs, in one thread. It ends with 1
where a goal was missed.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import fastavro
from google.protobuf import message_factory

from kgw.schema.avro import AvroCodec
from kgw.schema.codec import Codec
from kgw.schema.framing import index_array
from kgw.schema.json_schema import JsonCodec
from kgw.schema.model import RegisteredSchema, ResolvedSchema, SchemaType
from kgw.schema.protobuf import ProtobufCodec
from kgw.schema.protobuf_files import file_descriptor

COUNT, RUNS = 2000, 9


class Case(NamedTuple):
    """
    Payloads of one schema.

    @ivar library: reads one with the library of the format.
    @ivar goal: microseconds that C{row} may take; C{None}: it is only shown.
    """

    codec: Codec
    payloads: list[bytes]
    library: Callable[[bytes], object]
    goal: float | None = None


#: Made when their turn comes, by name.
CASES: dict[str, Callable[[], Case]] = {}


def case(name: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    """Puts what makes a case into the table."""

    def put(make: Callable[[], Case]) -> Callable[[], Case]:
        CASES[name] = make
        return make

    return put


def orders() -> list[dict[str, Any]]:
    """Records of seven fields, for all formats."""
    return [
        {
            "id": 100_000 + number,
            "customer": f"customer-{number % 977}",
            "amount": number / 8,
            "quantity": number % 300,
            "paid": number % 2 == 0,
            "note": None if number % 3 else "leave it at the door",
            "created": 1_790_000_000_000 + number * 17,
        }
        for number in range(COUNT)
    ]


def avro_case(schema: Any, values: list[Any], goal: float | None = None) -> Case:
    """A case of Avro; logical types are left out for fastavro, which is four times slower with them."""
    parsed = fastavro.parse_schema(schema)
    payloads = []
    for value in values:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, value)
        payloads.append(out.getvalue())
    codec = AvroCodec(ResolvedSchema(RegisteredSchema(1, SchemaType.AVRO, json.dumps(schema))))
    return Case(codec, payloads, lambda data: fastavro.schemaless_reader(io.BytesIO(data), parsed, None), goal)


def avro_record(name: str, **types: Any) -> dict[str, Any]:
    """A record's schema."""
    return {"type": "record", "name": name, "fields": [{"name": key, "type": kind} for key, kind in types.items()]}


ORDER = avro_record(
    "Order",
    id="long",
    customer="string",
    amount="double",
    quantity="int",
    paid="boolean",
    note=["null", "string"],
    created="long",
)


@case("avro, 7 fields")
def _avro_order() -> Case:
    return avro_case(ORDER, orders(), 6.0)


@case("avro, 10 orders in a list, a map and a union")
def _avro_nested() -> Case:
    schema = avro_record(
        "Basket",
        orders={"type": "array", "items": ORDER},
        tags={"type": "map", "values": "string"},
        source=["string", "long"],
    )
    rows = orders()
    tags = {"channel": "web", "country": "de"}
    values = [{"orders": rows[at : at + 10], "tags": tags, "source": at} for at in range(0, 500, 10)]
    return avro_case(schema, values)


@case("avro, 100 longs")
def _avro_wide() -> Case:
    schema = avro_record("Wide", **{f"field_{number}": "long" for number in range(100)})
    values = [{f"field_{number}": row * number for number in range(100)} for row in range(200)]
    return avro_case(schema, values)


PROTO = """
syntax = "proto3";
message Order {
  int64 id = 1; string customer = 2; double amount = 3; int32 quantity = 4; bool paid = 5;
  optional string note = 6; int64 created = 7;
}
message Basket {
  repeated Order orders = 1; map<string, string> tags = 2;
  oneof source { string name = 3; int64 at = 4; }
}
"""


def protobuf_case(name: str, index: int, values: list[dict[str, Any]], goal: float | None = None) -> Case:
    """A case of Protobuf; the library is google.protobuf's parser, which makes no values before they are asked for."""
    schema = ResolvedSchema(RegisteredSchema(1, SchemaType.PROTOBUF, PROTO))
    made: Any = message_factory.GetMessageClass(file_descriptor(schema).message_types_by_name[name])
    array = index_array((index,))
    payloads = [array + made(**value).SerializeToString() for value in values]
    return Case(ProtobufCodec(schema), payloads, lambda data: made.FromString(data[len(array) :]), goal)


@case("protobuf, 7 fields")
def _protobuf_order() -> Case:
    return protobuf_case("Order", 0, orders(), 6.0)


@case("protobuf, 10 orders in a list, a map and a oneof")
def _protobuf_nested() -> Case:
    rows = orders()
    tags = {"channel": "web", "country": "de"}
    return protobuf_case(
        "Basket", 1, [{"orders": rows[at : at + 10], "tags": tags, "at": at} for at in range(0, 500, 10)]
    )


def json_case(schema: dict[str, Any], values: list[dict[str, Any]]) -> Case:
    """A case of JSON Schema; the library is json, which checks nothing."""
    payloads = [json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() for value in values]
    codec = JsonCodec(ResolvedSchema(RegisteredSchema(1, SchemaType.JSON, json.dumps(schema))))
    return Case(codec, payloads, json.loads)


def json_order(**keywords: Any) -> dict[str, Any]:
    """The schema of an order; C{keywords} are those of its id."""
    note = {"oneOf": [{"type": "null"}, {"type": "string"}]}
    types = {"id": {"type": "integer", **keywords}, "customer": {"type": "string"}, "amount": {"type": "number"}}
    types |= {"quantity": {"type": "integer", "minimum": 0}, "paid": {"type": "boolean"}, "note": note}
    types |= {"created": {"type": "integer"}}
    return {"type": "object", "properties": types, "required": ["id", "customer"], "additionalProperties": False}


@case("json, 7 members")
def _json_order() -> Case:
    return json_case(json_order(), orders())


@case("json, 7 members, a keyword that only the library knows")
def _json_library() -> Case:
    return json_case(json_order(multipleOf=1), orders()[:200])


def microseconds(function: Callable[[bytes], object], payloads: list[bytes]) -> float:
    """The best time of a call."""
    best = float("inf")
    for _run in range(RUNS):
        begun = time.perf_counter()
        for payload in payloads:
            function(payload)
        best = min(best, time.perf_counter() - begun)
    return best / len(payloads) * 1e6


def main(words: list[str]) -> int:
    """Measure what has all the words in its name, and print it."""
    missed = 0
    print(f"{'microseconds a record':46} {'copy':>8} {'library':>8} {'check':>8} {'row':>8} {'goal':>6}   bytes")
    for name, make in CASES.items():
        if not all(word in name for word in words):
            continue
        codec, payloads, library, goal = make()
        times = [
            microseconds(function, payloads) for function in (lambda data: data[:1] + data[1:], library, codec.check)
        ]
        row = microseconds(codec.row, payloads)
        sizes = [sum(map(len, payloads)), sum(len(codec.row(payload)[1]) for payload in payloads)]
        shown = " ".join(f"{one:8.2f}" for one in (*times, row))
        wanted = "" if goal is None else f"{goal:.1f}"
        print(f"{name:46} {shown} {wanted:>6}   {sizes[0] // len(payloads)} -> {sizes[1] // len(payloads)}")
        missed += goal is not None and row > goal
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
