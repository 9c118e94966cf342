"""Generates the decoder of a declared message: straight lines, which believe no length and no count."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from kgw.errors import WireError
from kgw.wire.message import Array, FieldSpec, FieldType, fields_of, least_size, split_fields
from kgw.wire.primitives import RECORDS, STRING, UUID, Scalar, decode_uvarint
from kgw.wire.source import Source

#: The most elements that all arrays and tag sections of one message may have together. Counts are held against the
#: bytes left as well, but elements of a few bytes become objects of a hundred and take 1 to 2.5 us each: this many
#: keep the reactor for 0.2 s, or less than 1 s with what handlers do with them, and are more topics and partitions
#: than one node has.
MAX_ELEMENTS = 100_000

#: The most bytes of a string (Kafka: the generated C{read} of a message refuses longer ones in compact form too).
_MAX_STRING = 0x7FFF


def _short(what: str) -> None:
    raise WireError(f"a length of {what} is larger than the bytes left")


def _long(what: str) -> None:
    raise WireError(f"{what} has more than {_MAX_STRING} bytes")


def _null(what: str) -> None:
    raise WireError(f"{what} must not be null")


def _many(what: str) -> None:
    raise WireError(f"more than {MAX_ELEMENTS} elements in one message, counted up to {what}")


def _bad_tag(what: str) -> None:
    raise WireError(f"the tagged field {what} does not fill its size")


class DecoderSource(Source):
    """Generates C{decode(b, o) -> (value, offset)}; C{z} is the length of the frame, C{e} the elements left."""

    def compile(self, cls: type) -> Callable[[bytes, int], tuple[Any, int]]:
        self.names.update(
            uv=decode_uvarint,
            short=_short,
            long=_long,
            null=_null,
            bad_tag=_bad_tag,
            many=_many,
            view=memoryview,
            unpack=struct.unpack_from,
            # the fields are all set right after it: half the cost of calling the class
            new=object.__new__,
        )
        for code in "hi":
            self.names["u" + code] = struct.Struct(">" + code).unpack_from
        self.emit(0, "def decode(b, o):")
        self.emit(1, f"z = len(b); e = {MAX_ELEMENTS}")
        value = self._struct(1, cls)
        self.emit(1, f"return {value}, o")
        return self.function(cls, "decode")

    def _length(self, depth: int, what: str, code: str, compact: bool) -> str:
        """A length or count into a new variable; -1 is null."""
        length = self.new("n")
        if compact:
            self.emit(depth, f"{length} = b[o]; o += 1")
            self.emit(depth, f"if {length} > 127: {length}, o = uv(b, o - 1)")
            self.emit(depth, f"{length} -= 1")
        else:
            self.emit(depth, f"{length}, = u{code}(b, o); o += {struct.calcsize(code)}")
            self.emit(depth, f"if {length} < -1: short({what!r})")
        return length

    def _value(self, depth: int, what: str, kind: FieldType, nullable: bool, compact: bool) -> str:
        if isinstance(kind, Array):
            return self._array(depth, what, kind, nullable, compact)
        if isinstance(kind, Scalar):
            if kind.code:
                return self._fixed(depth, [kind])[0]
            return self._sized(depth, what, kind, nullable, compact)
        if nullable:
            value = self.new("v")
            self.emit(depth, "marker = b[o]; o += 1")
            self.emit(depth, f"if marker > 127: {value} = None")
            self.emit(depth, "else:")
            inner = self._struct(depth + 1, kind)
            self.emit(depth + 1, f"{value} = {inner}")
            return value
        return self._struct(depth, kind)

    def _fixed(self, depth: int, kinds: Sequence[Scalar]) -> list[str]:
        # a boolean is any non-zero byte (Kafka: readByte() != 0), which is what struct's "?" does
        shape = struct.Struct(">" + "".join(kind.code for kind in kinds))
        read = self.new("s", shape.unpack_from)
        names = [self.new("v") for _ in kinds]
        self.emit(depth, f"{', '.join(names)}{',' if len(names) == 1 else ''} = {read}(b, o); o += {shape.size}")
        return names

    def _sized(self, depth: int, what: str, kind: Scalar, nullable: bool, compact: bool) -> str:
        length = self._length(depth, what, "h" if kind is STRING else "i", compact)
        value = self.new("v")
        self.emit(depth, f"if {length} > z - o: short({what!r})")
        if nullable:
            self.emit(depth, f"if {length} < 0: {value} = None")
            self.emit(depth, "else:")
            depth += 1
        else:
            self.emit(depth, f"if {length} < 0: null({what!r})")
        if kind is STRING:
            if compact:
                self.emit(depth, f"if {length} > {_MAX_STRING}: long({what!r})")
            self.emit(depth, f"{length} += o; {value} = b[o:{length}].decode(); o = {length}")
        elif kind is RECORDS:
            self.emit(depth, f"{length} += o; {value} = view(b)[o:{length}]; o = {length}")
        else:
            self.emit(depth, f"{length} += o; {value} = b[o:{length}]; o = {length}")
        return value

    def _array(self, depth: int, what: str, kind: Array, nullable: bool, compact: bool) -> str:
        count = self._length(depth, what, "i", compact)
        value = self.new("v")
        least = least_size(kind.element, self.version, compact)
        if not least:
            raise TypeError(f"{what}: elements that take no bytes would make any count lawful")
        self.emit(depth, f"if {count} * {least} > z - o: short({what!r})")
        self.emit(depth, f"e -= {count}")
        self.emit(depth, f"if e < 0: many({what!r})")
        if nullable:
            self.emit(depth, f"if {count} < 0: {value} = None")
            self.emit(depth, "else:")
            depth += 1
        else:
            self.emit(depth, f"if {count} < 0: null({what!r})")
        element = kind.element
        if isinstance(element, Scalar) and element.code and element is not UUID:
            self.emit(depth, f"{value} = list(unpack('>%d{element.code}' % {count}, b, o))")
            self.emit(depth, f"o += {count} * {element.size}")
            return value
        self.emit(depth, f"{value} = []")
        add = self.new("a")
        self.emit(depth, f"{add} = {value}.append")
        self.emit(depth, f"for _ in range({count}):")
        item = self._value(depth + 1, what, element, False, compact)
        self.emit(depth + 1, f"{add}({item})")
        return value

    def _struct(self, depth: int, cls: type) -> str:
        regular, tagged = split_fields(cls, self.version, self.flexible)
        names: dict[str, str] = {}
        run: list[FieldSpec] = []

        def flush() -> None:
            if run:
                for spec, name in zip(run, self._fixed(depth, [s.type for s in run]), strict=True):  # type: ignore[misc]
                    names[spec.name] = name
                run.clear()

        for spec in regular:
            if isinstance(spec.type, Scalar) and spec.type.code:
                run.append(spec)
                continue
            flush()
            names[spec.name] = self._field(depth, cls, spec)
        flush()
        value = self.new("v")
        self.emit(depth, f"{value} = new({self.new('C', cls)})")
        for spec in fields_of(cls):
            self.emit(depth, f"{value}.{spec.name} = {names.get(spec.name) or self._default(spec)}")
        if self.flexible:
            self._tags(depth, cls, tagged, value)
        return value

    def _default(self, spec: FieldSpec) -> str:
        """An expression for the value of a field that is not on the wire."""
        if spec.default is None:
            return "None"
        if isinstance(spec.type, Array):
            return "[]"
        if isinstance(spec.type, Scalar):
            return self.new("d", spec.default)
        return f"{self.new('C', spec.type)}()"

    def _field(self, depth: int, cls: type, spec: FieldSpec) -> str:
        compact = self.flexible and spec.flexible
        return self._value(depth, f"{cls.__qualname__}.{spec.name}", spec.type, spec.may_be_null(self.version), compact)

    def _tags(self, depth: int, cls: type, tagged: list[FieldSpec], value: str) -> None:
        count, tag, size, end = (self.new("t") for _ in range(4))
        self.emit(depth, f"{count} = b[o]; o += 1")
        self.emit(depth, f"if {count}:")
        self.emit(depth + 1, f"if {count} > 127: {count}, o = uv(b, o - 1)")
        # a tag takes two bytes at least
        self.emit(depth + 1, f"if {count} * 2 > z - o: short('the tag section of {cls.__qualname__}')")
        self.emit(depth + 1, f"e -= {count}")
        self.emit(depth + 1, f"if e < 0: many('the tag section of {cls.__qualname__}')")
        self.emit(depth + 1, f"for _ in range({count}):")
        self.emit(depth + 2, f"{tag}, o = uv(b, o)")
        self.emit(depth + 2, f"{size}, o = uv(b, o)")
        self.emit(depth + 2, f"if {size} > z - o: short('a tagged field of {cls.__qualname__}')")
        self.emit(depth + 2, f"{end} = o + {size}")
        word = "if"
        for spec in tagged:
            self.emit(depth + 2, f"{word} {tag} == {spec.tag}:")
            inner = self._field(depth + 3, cls, spec)
            self.emit(depth + 3, f"{value}.{spec.name} = {inner}")
            self.emit(depth + 3, f"if o != {end}: bad_tag({f'{cls.__qualname__}.{spec.name}'!r})")
            word = "elif"
        self.emit(depth + 2, f"o = {end}")
