"""Whether a JSON value is what its schema says, by the library C{jsonschema}, for all keywords of all drafts.

The library goes through the schema for every value, and schemas and values come from strangers: every keyword that is
held against a value takes steps from a number of them, regular expressions are RE2's, and its texts of errors, which
nobody reads, do not have the values in them. Formats are not asserted, as by Confluent's clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from kgw.schema.json_document import SchemaDocument
from kgw.schema.json_text import frozen
from kgw.schema.model import Undecodable

#: Keywords held against a value, a large one counting more than once: some tenths of a second.
MOST_STEPS = 100_000
#: What of a value counts for a step: members, elements, characters.
_PER_STEP = 16

_Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


class _Object(dict[str, Any]):
    def __repr__(self) -> str:
        return "an object"


class _Array(list[Any]):
    def __repr__(self) -> str:
        return "an array"


class _Text(str):
    def __repr__(self) -> str:
        return "a text"


def _quiet(value: Any) -> Any:
    """The same value, but short when it is printed."""
    if isinstance(value, dict):
        return _Object((_Text(name), _quiet(one)) for name, one in value.items())
    if isinstance(value, list):
        return _Array(map(_quiet, value))
    return _Text(value) if isinstance(value, str) else value


class FullCheck:
    """Holds values against one schema."""

    def __init__(self, document: SchemaDocument) -> None:
        self._document = document
        self._steps = 0
        known = document.dialect.validator.VALIDATORS
        own = {
            "additionalProperties": self._additional_properties,
            "pattern": self._pattern,
            "patternProperties": self._pattern_properties,
            "uniqueItems": self._unique_items,
            **{keyword: self._reference(keyword) for keyword in document.references},
        }
        bounded = {
            # the library looks for names and anchors within the whole schema for these
            name: self._bounded(own.get(name, keyword), len(document.places) if name.startswith("unevaluated") else 1)
            for name, keyword in known.items()
        }
        validator = extend(document.dialect.validator, bounded)
        self._validator = validator(True, registry=document.registry)

    def __call__(self, value: Any) -> None:
        """
        @raise Undecodable: the value is not what the schema says, or it takes too long to say.
        """
        self._steps = MOST_STEPS
        try:
            document = self._document
            errors = self._validator.descend(_quiet(value), document.root, resolver=document.resolver)
            error = next(errors, None)
        except RecursionError:
            raise Undecodable("the value goes down the schema too far") from None
        except ArithmeticError:
            raise Undecodable("the value has a number that cannot be held against the schema") from None
        if error is not None:
            place = self._document.place(error.schema)
            raise Undecodable(f"the value is not what the schema says at {place}/{error.validator}")

    def _spend(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise Undecodable("it takes too long to hold the value against the schema")

    def _bounded(self, keyword: _Keyword, steps: int) -> _Keyword:
        def held(validator: Any, said: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
            size = sum(len(one) for one in (value, said) if isinstance(one, dict | list | str))
            self._spend(steps + size // _PER_STEP)
            yield from keyword(validator, said, value, schema) or ()

        return held

    def _reference(self, keyword: str) -> _Keyword:
        def reference(validator: Any, _said: str, value: Any, schema: Any) -> Iterator[ValidationError]:
            target, resolver = self._document.targets[id(schema), keyword]
            yield from validator.descend(value, target, resolver=resolver)

        return reference

    def _found(self, pattern: str, text: str) -> object:
        self._spend(1 + len(text) // _PER_STEP)
        search = self._document.patterns[pattern]
        return search is None or search(text)

    def _pattern(self, _validator: Any, said: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
        if isinstance(value, str) and not self._found(said, value):
            yield ValidationError("a pattern is not matched")

    def _pattern_properties(self, validator: Any, said: Any, value: Any, _schema: Any) -> Iterator[ValidationError]:
        if isinstance(value, dict):
            for pattern, subschema in said.items():
                for name, one in value.items():
                    if self._found(pattern, name):
                        yield from validator.descend(one, subschema, path=name, schema_path=pattern)

    def _additional_properties(self, validator: Any, said: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
        if not isinstance(value, dict) or said is True:
            return
        named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for name, one in value.items():
            if name in named or any(self._found(pattern, name) for pattern in patterns):
                continue
            if said is False:
                yield ValidationError("a member is not allowed")
                return
            yield from validator.descend(one, said, path=name)

    def _unique_items(self, _validator: Any, said: bool, value: Any, _schema: Any) -> Iterator[ValidationError]:
        if said and isinstance(value, list):
            self._spend(_count(value) // _PER_STEP)
            if len(set(map(frozen, value))) != len(value):
                yield ValidationError("elements are equal")


def _count(value: Any) -> int:
    """How many values are in a value, with itself."""
    if isinstance(value, dict):
        return 1 + sum(map(_count, value.values()))
    return 1 + sum(map(_count, value)) if isinstance(value, list) else 1
