"""A property that kgw obeys, declared as an attribute of the configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import Generic, TypeVar, cast, overload

from kgw.config.definition import ConfigType, Definition
from kgw.config.kafka import BROKER

T_co = TypeVar("T_co", covariant=True)


class Setting(Generic[T_co]):
    """
    One property and its attribute: C{num_partitions} is C{num.partitions}.

    Where Kafka has a property of that name, its type, default and bounds hold unless others are given here.

    @ivar definition: what the property is.
    """

    definition: Definition

    def __init__(
        self,
        doc: str,
        *,
        unit: str = "",
        type: ConfigType | None = None,
        default: str | None = None,
        minimum: int | None = None,
        maximum: int | None = None,
        choices: tuple[str, ...] = (),
        dynamic: bool = False,
    ) -> None:
        """
        @param dynamic: of a property of kgw's own: it can be altered without a restart, where topics inherit it.
        """
        self._doc = doc
        self._unit = unit
        self._type = type
        self._default = default
        self._minimum = minimum
        self._maximum = maximum
        self._choices = choices
        self._dynamic = dynamic

    def __set_name__(self, owner: type[object], attribute: str) -> None:
        self._attribute = attribute
        name = attribute.replace("_", ".")
        definition = BROKER.get(name)
        if definition is None:
            if self._type is None:
                raise TypeError(f"{name} is no property of Kafka's and has no type here")
            definition = Definition(name, self._type)
        self.definition = replace(
            definition,
            default=definition.default if self._default is None else self._default,
            minimum=definition.minimum if self._minimum is None else self._minimum,
            maximum=definition.maximum if self._maximum is None else self._maximum,
            choices=self._choices or definition.choices,
            dynamic=self._dynamic or definition.dynamic,
            unit=self._unit,
            doc=self._doc,
        )

    @overload
    def __get__(self, instance: None, owner: type[object]) -> Setting[T_co]: ...
    @overload
    def __get__(self, instance: object, owner: type[object]) -> T_co: ...
    def __get__(self, instance: object | None, owner: type[object]) -> Setting[T_co] | T_co:
        # An instance keeps its values in its __dict__, which Python asks first: reading one costs no call.
        if instance is None:
            return self
        return cast("T_co", vars(instance)[self._attribute])
