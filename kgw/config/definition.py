"""What one property is: its type, default and bounds, and how its text is read and written as Kafka does."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from kgw.errors import StartError

#: What a property's text is read as; LIST becomes a tuple, an unset property is C{None}.
Value = bool | int | float | str | tuple[str, ...] | None


class ConfigError(StartError):
    """The configuration is not understood; the message names property, value, where it stands and what is allowed."""


class InvalidValue(ValueError):
    """A text is not a value of its property; the message is Kafka's own reason for it."""


class ConfigType(IntEnum):
    """Types of a property by DescribeConfigs' numbers (Kafka: C{DescribeConfigsResponse.ConfigType})."""

    UNKNOWN = 0
    BOOLEAN = 1
    STRING = 2
    INT = 3
    SHORT = 4
    LONG = 5
    DOUBLE = 6
    LIST = 7
    CLASS = 8
    PASSWORD = 9


#: Bits of the whole number types.
_BITS = {ConfigType.SHORT: 16, ConfigType.INT: 32, ConfigType.LONG: 64}
Number = TypeVar("Number", int, float)

_WHOLE = re.compile(r"[+-]?[0-9]+\Z")
_REPLICAS = re.compile(r"[0-9]+:[0-9]+\Z")


@dataclass(frozen=True, slots=True)
class Definition:
    """
    One property.

    @ivar default: its text where nobody sets it; C{None} for none.
    @ivar minimum: the least number allowed, C{None} for that of the type; C{maximum} likewise.
    @ivar also: single numbers outside these bounds that are allowed too.
    @ivar choices: the texts allowed, empty for any.
    @ivar item_choices: the items a list may hold, empty for any.
    @ivar replicas: its items are C{partition:broker} or the one item C{*}.
    @ivar synonyms: for a topic config the broker properties that give its default, the first set one wins.
    @ivar dynamic: Kafka changes it without a restart.
    @ivar unit: what its number counts: C{"ms"}, C{"bytes"}, or nothing.
    @ivar doc: one sentence for people; empty where kgw makes no use of it.
    """

    name: str
    type: ConfigType
    default: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    also: tuple[int, ...] = ()
    choices: tuple[str, ...] = ()
    item_choices: tuple[str, ...] = ()
    replicas: bool = False
    synonyms: tuple[str, ...] = ()
    dynamic: bool = False
    unit: str = ""
    doc: str = ""

    @property
    def sensitive(self) -> bool:
        """Whether its value is never shown."""
        return self.type is ConfigType.PASSWORD

    def parse(self, text: str) -> Value:
        """
        Read a text as Kafka's C{ConfigDef} does.

        @raise InvalidValue: it is none of this type or outside its bounds.
        """
        text = text if self.sensitive else text.strip()
        match self.type:
            case ConfigType.BOOLEAN:
                if text.lower() not in ("true", "false"):
                    raise InvalidValue("Expected value to be either true or false")
                return text.lower() == "true"
            case ConfigType.SHORT | ConfigType.INT | ConfigType.LONG:
                return self._bounded(self._whole(text))
            case ConfigType.DOUBLE:
                try:
                    number = float(text)
                except ValueError:
                    raise InvalidValue("Not a number of type DOUBLE") from None
                return self._bounded(number)
            case ConfigType.LIST:
                return self._items(text)
            case _:
                if self.choices and text not in self.choices:
                    raise InvalidValue(f"String must be one of: {', '.join(self.choices)}")
                return text

    def _whole(self, text: str) -> int:
        half = 1 << (_BITS[self.type] - 1)
        # At most 20 characters are a LONG; more are refused before they cost anything.
        number = int(text) if len(text) <= 20 and _WHOLE.match(text) else None
        if number is None or not -half <= number < half:
            raise InvalidValue(f"Not a number of type {self.type.name}")
        return number

    def _bounded(self, number: Number) -> Number:
        if number in self.also:
            return number
        too_small = self.minimum is not None and not number >= self.minimum
        too_large = self.maximum is not None and not number <= self.maximum
        if self.also and (too_small or too_large):
            raise InvalidValue(
                f"Value must be between {self.minimum} and {self.maximum} or equal to {', '.join(map(str, self.also))}"
            )
        if too_small:
            raise InvalidValue(f"Value must be at least {self.minimum}")
        if too_large:
            raise InvalidValue(f"Value must be no more than {self.maximum}")
        return number

    def _items(self, text: str) -> tuple[str, ...]:
        items = tuple(re.split(r"\s*,\s*", text)) if text else ()
        for item in items:
            if self.item_choices and item not in self.item_choices:
                raise InvalidValue(f"String must be one of: {', '.join(self.item_choices)}")
        if self.replicas and items != ("*",) and not all(_REPLICAS.match(item) for item in items):
            raise InvalidValue(
                f"{self.name} must be the literal '*' or a list of replicas in the following format:"
                " [partitionId]:[brokerId],[partitionId]:[brokerId],..."
            )
        return items

    def allowed(self) -> str:
        """What may stand there, in words for an error or a manual."""
        match self.type:
            case ConfigType.BOOLEAN:
                return "true or false"
            case ConfigType.SHORT | ConfigType.INT | ConfigType.LONG | ConfigType.DOUBLE:
                kind = "a number" if self.type is ConfigType.DOUBLE else "a whole number"
                if self.minimum is not None:
                    kind += f" from {self.minimum}"
                if self.maximum is not None:
                    kind += f" to {self.maximum}"
                return kind + "".join(f", or {number}" for number in self.also)
            case ConfigType.LIST if self.item_choices:
                return f"a list, separated by commas, of: {', '.join(self.item_choices)}"
            case ConfigType.LIST if self.replicas:
                return "* or a list, separated by commas, of partition:broker"
            case ConfigType.LIST:
                return "a list, separated by commas"
            case _ if self.choices:
                return f"one of: {', '.join(self.choices)}"
            case _:
                return "a text"


def text_of(value: Value) -> str | None:
    """A value's text as Kafka shows it (Kafka: C{ConfigDef.convertToString})."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case tuple():
            return ",".join(value)
        case float():
            return _java_double(value)
        case _:
            return str(value)


def _java_double(value: float) -> str:
    """A number as Java's C{Double.toString} prints it: C{0.5}, C{1.0E-5}."""
    if not math.isfinite(value) or value == 0 or 1e-3 <= abs(value) < 1e7:
        return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(repr(value), repr(value))
    sign, digits, exponent = "-" if value < 0 else "", *_digits(abs(value))
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{exponent}"


def _digits(value: float) -> tuple[str, int]:
    """The shortest digits that mean C{value}, and the power of ten of the first one."""
    shortest = repr(value)
    mantissa, _, power = shortest.partition("e")
    whole, _, fraction = mantissa.partition(".")
    exponent = len(whole) - 1 + int(power or 0)
    digits = whole + fraction
    leading = len(digits) - len(digits.lstrip("0"))
    return digits.strip("0") or "0", exponent - leading
