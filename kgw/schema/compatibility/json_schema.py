"""
Whether what satisfies an original JSON Schema satisfies an updated one too, which is how a reader's schema is checked.

No library that is kept up does that by the rules of registries, so these are ours, in Confluent's terms. Their verdicts
are Confluent's but for this: a change that loses nothing is accepted in more cases (an allOf made one of its parts, all
branches of an anyOf covered by one type), one that loses something is seen in more (a type that was not said before,
names required that are not declared, propertyNames, contains, if, patternProperties).

Source: https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/serdes-json.html,
"JSON Schema compatibility rules", and the names of Confluent's C{Difference.Type}.
"""

from __future__ import annotations

from collections.abc import Iterator

from kgw.schema.compatibility.document import frozen, shown
from kgw.schema.compatibility.findings import Findings, Pairs, UnusableSchema, found, joined, under
from kgw.schema.compatibility.json_bounds import bounds, multiple
from kgw.schema.compatibility.json_content import (
    Items,
    Properties,
    dependencies,
    is_empty,
    items,
    properties,
    rest,
)
from kgw.schema.compatibility.json_types import ANY, NOTHING, Kind, Node, json_root
from kgw.schema.compatibility.matching import most_matched

#: Names times patterns of one object and its counterpart.
_MOST_SEARCHES = 500_000

#: Makes of a schema what L{unreadable} takes.
read = json_root


def unreadable(reader: Node, writer: Node) -> Findings:
    """
    What of a writer's data a reader does not take; nothing if all is taken.

    @raise UnusableSchema: they are too intricate.
    """
    return _Comparison().compare(writer, reader)


class _Comparison:
    """One original schema against one update."""

    def __init__(self) -> None:
        self._pairs = Pairs()

    def compare(self, original: Node, update: Node) -> Findings:
        """The findings of two schemas."""
        if update.kind is Kind.ANY or original.kind is Kind.NOTHING:
            return ()
        return self._pairs.judge((original, update), lambda: self._compared(original, update))

    def _compared(self, original: Node, update: Node) -> Findings:
        if Kind.COMBINED in (original.kind, update.kind):
            return self._combined(original, update)
        if original.kind is not update.kind:
            return found("TYPE_CHANGED", f"{_named(original)} became {_named(update)}")
        narrowed = found("TYPE_NARROWED", f"{_named(original)} became {_named(update)}")
        if original.loose and not update.loose:
            return narrowed
        match original.kind:
            case Kind.STRING:
                return joined([*bounds(Kind.STRING, original.says, update.says), _pattern(original, update)])
            case Kind.NUMBER:
                changed = [*bounds(Kind.NUMBER, original.says, update.says), multiple(original.says, update.says)]
                return joined([*changed, narrowed if update.integer and not original.integer else ()])
            case Kind.OBJECT:
                return joined(self._object(original, update))
            case Kind.ARRAY:
                return joined(self._array(original, update))
            case Kind.ENUM:
                return _enum(original, update)
            case Kind.NOT:
                # the other way round: less must be forbidden
                if self.compare(update.parts[0], original.parts[0]):
                    return found("NOT_TYPE_EXTENDED", "more is forbidden than before", "/not")
                return ()
            case Kind.CONDITIONAL:
                return self._conditional(original, update)
            case _:
                return ()

    def _combined(self, original: Node, update: Node) -> Findings:
        """Two schemas of which one, at least, consists of several."""
        if original.criterion == "allOf" and any(not self.compare(part, update) for part in original.parts):
            return ()
        if update.criterion in ("anyOf", "oneOf") and any(not self.compare(original, part) for part in update.parts):
            return ()
        if update.kind is not Kind.COMBINED:
            if original.criterion != "allOf" and all(not self.compare(part, update) for part in original.parts):
                return ()
            return found("TYPE_CHANGED", f"{_named(original)} became {_named(update)}")
        if original.kind is not Kind.COMBINED:
            if update.criterion != "allOf":
                return found("TYPE_CHANGED", f"{_named(original)} became {_named(update)}")
            judged = [self.compare(original, part) for part in update.parts]
            if all(judged):
                return found("TYPE_CHANGED", f"{_named(original)} became {_named(update)}")
            if any(judged):
                return found("PRODUCT_TYPE_EXTENDED", f"{_named(original)} became part of an allOf that asks more")
            return ()
        if original.criterion != update.criterion and update.criterion != "anyOf":
            return found("COMBINED_TYPE_CHANGED", f"{original.criterion} became {update.criterion}")
        return self._several(original, update)

    def _several(self, original: Node, update: Node) -> Findings:
        """Two combined schemas: every part of the smaller must have a part of its own in the other."""
        were, are = len(original.parts), len(update.parts)
        changed: list[Findings] = []
        if update.criterion == "allOf" and were < are:
            changed.append(found("PRODUCT_TYPE_EXTENDED", f"allOf had {were} parts and has {are}"))
        elif update.criterion != "allOf" and were > are:
            changed.append(found("SUM_TYPE_NARROWED", f"{original.criterion} had {were} parts, and has {are}"))
        fitting = [
            [at for at, part in enumerate(update.parts) if not self.compare(other, part)] for other in original.parts
        ]
        if most_matched(fitting, are) < min(were, are):
            parts = ", ".join(str(at) for at, fits in enumerate(fitting) if not fits) or "several"
            text = f"parts of {original.criterion} have no part of {update.criterion} that covers them: {parts}"
            changed.append(found("COMBINED_TYPE_SUBSCHEMAS_CHANGED", text, f"/{original.criterion}"))
        return joined(changed)

    def _conditional(self, original: Node, update: Node) -> Findings:
        if frozen(original.says["if"]) != frozen(update.says["if"]):
            return found("TYPE_CHANGED", "the condition changed", "/if")
        return joined(under(step, self.compare(rest(original, step), rest(update, step))) for step in ("then", "else"))

    def _object(self, original: Node, update: Node) -> Iterator[Findings]:
        was, now = properties(original), properties(update)
        if (len(was.named) + len(now.named)) * (len(was.patterns) + len(now.patterns)) > _MOST_SEARCHES:
            raise UnusableSchema("an object has too many properties and patterns to hold all against each other")
        yield from _required(was, now)
        for name in dict.fromkeys([*was.named, *now.named]):
            yield under(f"properties/{name}", self._property(name, was, now))
        for pattern, node in now.patterns.items():
            if pattern not in was.patterns:
                # what has a name of its own has to be as the pattern says, too
                for name, before in was.named.items():
                    if now.fits(pattern, name):
                        yield under(f"properties/{name}", self.compare(before, node))
        for pattern in dict.fromkeys([*was.patterns, *now.patterns]):
            before, after = was.patterns.get(pattern, was.others), now.patterns.get(pattern, now.others)
            yield under(f"patternProperties/{pattern}", self.compare(before, after))
        yield self._rest("additionalProperties", "ADDITIONAL_PROPERTIES", was.others, now.others)
        keyword = "unevaluatedProperties"
        yield self._rest(keyword, "UNEVALUATED_PROPERTIES", rest(original, keyword), rest(update, keyword))
        yield self._whole("propertyNames", original, update)
        yield from self._dependencies(original, update)
        yield from bounds(Kind.OBJECT, original.says, update.says)

    def _property(self, name: str, was: Properties, now: Properties) -> Findings:
        """A property that one of two schemas names, at least."""
        before, after = was.named.get(name), now.named.get(name)
        if before is not None and after is not None:
            return self.compare(before, after)
        if before is not None:
            return self._removed(before, *now.covering(name))
        assert after is not None
        required = name in now.required and name not in was.required
        covers, certain = was.covering(name)
        if any(is_empty(one) for one in covers) and (not certain or all(is_empty(one) for one in covers)):
            return _added_to_open(after, required, name in now.defaults)
        changed: list[Findings] = []
        if NOTHING not in covers or not certain:
            judged = [self.compare(one, after) for one in covers]
            if all(judged) if certain else any(judged):
                changed += [
                    *judged,
                    found(
                        "PROPERTY_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL",
                        "a new property that does not take all that could stand under its name before",
                    ),
                ]
        if required and name not in now.defaults:
            changed.append(
                found(
                    "REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL", "a new property is required and has no default"
                )
            )
        return joined(changed)

    def _removed(self, before: Node, covers: list[Node], certain: bool) -> Findings:
        if covers == [NOTHING]:
            return (
                ()
                if before.kind is Kind.NOTHING
                else found(
                    "PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL", "a property is gone and others are not allowed"
                )
            )
        judged = [self.compare(before, one) for one in covers]
        if not any(judged):
            return ()
        text = "a property is gone, and what is said of others does not take all that it took"
        return joined([*judged, found("PROPERTY_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL", text)])

    def _dependencies(self, original: Node, update: Node) -> Iterator[Findings]:
        was_names, was_schemas = dependencies(original)
        now_names, now_schemas = dependencies(update)
        for name, others in now_names.items():
            path = f"/dependencies/{name}"
            before = was_names.get(name)
            if before is None:
                yield found("DEPENDENCY_ARRAY_ADDED", f"{shown(name)} now asks for {shown(sorted(others))}", path)
            elif not others <= before:
                rule = "DEPENDENCY_ARRAY_EXTENDED" if before < others else "DEPENDENCY_ARRAY_CHANGED"
                yield found(rule, f"{shown(name)} now asks for {shown(sorted(others - before))} too", path)
        for name, schema in now_schemas.items():
            earlier = was_schemas.get(name, ANY)
            if is_empty(earlier) and not is_empty(schema):
                yield found("DEPENDENCY_SCHEMA_ADDED", f"{shown(name)} has a condition now", f"/dependencies/{name}")
            else:
                yield under(f"dependencies/{name}", self.compare(earlier, schema))

    def _array(self, original: Node, update: Node) -> Iterator[Findings]:
        was, now = items(original), items(update)
        for at in range(max(len(was.first), len(now.first))):
            yield under(f"items/{at}", self._item(at, was, now))
        if now.keyword == "items" and not now.first and not is_empty(now.others) and is_empty(was.others):
            yield found("SCHEMA_ADDED", "all items have a schema now", "/items")
        else:
            yield self._rest(now.keyword, "ADDITIONAL_ITEMS", was.others, now.others)
        keyword = "unevaluatedItems"
        yield self._rest(keyword, "UNEVALUATED_ITEMS", rest(original, keyword), rest(update, keyword))
        yield self._whole("contains", original, update)
        if update.says.get("uniqueItems") is True and original.says.get("uniqueItems") is not True:
            yield found("UNIQUE_ITEMS_ADDED", "items have to differ now", "/uniqueItems")
        yield from bounds(Kind.ARRAY, original.says, update.says)

    def _item(self, at: int, was: Items, now: Items) -> Findings:
        """An item that one of two schemas has a schema of its own for, at least."""
        if at < len(was.first) and at < len(now.first):
            return self.compare(was.first[at], now.first[at])
        if at < len(was.first):
            if now.others.kind is Kind.NOTHING and was.first[at].kind is not Kind.NOTHING:
                return found("ITEM_REMOVED_FROM_CLOSED_CONTENT_MODEL", "an item is gone and others are not allowed")
            judged, rule = self.compare(was.first[at], now.others), "ITEM_REMOVED_NOT_COVERED"
        elif is_empty(was.others):
            if is_empty(now.first[at]):
                return ()
            return found("ITEM_ADDED_TO_OPEN_CONTENT_MODEL", "an item could be anything before")
        else:
            judged, rule = self.compare(was.others, now.first[at]), "ITEM_ADDED_NOT_COVERED"
        if not judged:
            return ()
        text = "an item that only one schema names is not covered by what the other says of all others"
        return joined([judged, found(f"{rule}_BY_PARTIALLY_OPEN_CONTENT_MODEL", text)])

    def _rest(self, keyword: str, rule: str, was: Node, now: Node) -> Findings:
        """What is said of all that has no name."""
        if is_empty(now) or was.kind is Kind.NOTHING:
            return ()
        if now.kind is Kind.NOTHING:
            return found(f"{rule}_REMOVED", f"{keyword} were allowed and are not any more", f"/{keyword}")
        if is_empty(was):
            return found(f"{rule}_NARROWED", f"{keyword} could be anything and have a schema now", f"/{keyword}")
        return under(keyword, self.compare(was, now))

    def _whole(self, keyword: str, original: Node, update: Node) -> Findings:
        """A keyword with a schema that is a condition of its own."""
        was, now = rest(original, keyword), rest(update, keyword)
        if is_empty(was) and not is_empty(now):
            return found("SCHEMA_ADDED", f"{keyword} is new", f"/{keyword}")
        return under(keyword, self.compare(was, now))


def _required(was: Properties, now: Properties) -> Iterator[Findings]:
    """Names that are required now; those of new properties are seen there."""
    for name in sorted(now.required - was.required):
        if name in now.named and (name not in was.named or name in now.defaults):
            continue
        yield found("REQUIRED_ATTRIBUTE_ADDED", f"{shown(name)} is required and has no default", f"/required/{name}")


def _added_to_open(after: Node, required: bool, has_default: bool) -> Findings:
    if required and not has_default:
        return found("REQUIRED_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL", "a new property is required and has no default")
    if is_empty(after):
        return ()
    rule = "REQUIRED_PROPERTY_WITH_DEFAULT_ADDED" if required else "OPTIONAL_PROPERTY_ADDED"
    return found(f"{rule}_TO_OPEN_CONTENT_MODEL", "anything could stand under the name of a new property before")


def _pattern(original: Node, update: Node) -> Findings:
    before, after = original.says.get("pattern"), update.says.get("pattern")
    if after is None or before == after:
        return ()
    if before is None:
        return found("PATTERN_ADDED", f"pattern {shown(after)} is new", "/pattern")
    return found("PATTERN_CHANGED", f"pattern was {shown(before)}, is {shown(after)}", "/pattern")


def _enum(original: Node, update: Node) -> Findings:
    if original.values <= update.values:
        return ()
    if update.values < original.values:
        return found("ENUM_ARRAY_NARROWED", "values that were allowed are not any more", "/enum")
    return found("ENUM_ARRAY_CHANGED", "values that were allowed are not any more, and others are", "/enum")


def _named(node: Node) -> str:
    """What a node is, for a message."""
    if node.kind is Kind.COMBINED:
        return node.criterion
    if node.kind is Kind.NUMBER and node.integer:
        return "integer"
    return f"{node.kind.value}, or something else," if node.loose else node.kind.value
