"""Struct offsets for assembly: `Vcpu.regs.rip` is a number because `Vcpu` is a Place, offset 0 in
the struct.

The layouts are the compiler's own (kpy.front.structs), so assembly cannot disagree with kernel
Python.
"""

import types

from kpy.front.annotations import resolve
from kpy.front.structs import StructType, size_of
from kpy.front.types import ArrayType


class Place(int):
    """An offset, and the type that lies there: attributes and indices go deeper."""

    type: object

    def __new__(cls, offset: int, type_):
        place = super().__new__(cls, offset)
        place.type = type_
        return place

    def __getattr__(self, name: str):
        type_ = resolve(self.type)
        if not isinstance(type_, StructType):
            raise AttributeError(f"`{type_}` has no field {name}")
        if name in type_.fields:
            return Place(int(self) + type_.fields[name].offset, type_.fields[name].type)
        return wrap(getattr(type_, name))

    def __getitem__(self, index: int):
        type_ = resolve(self.type)
        if not isinstance(type_, ArrayType) or not 0 <= index < type_.count:
            raise IndexError(f"`{type_}`[{index}]")
        return Place(int(self) + index * size_of(type_.element), type_.element)


class ModuleView:
    """A module whose structs are seen as Places."""

    def __init__(self, module: types.ModuleType):
        self._module = module

    def __getattr__(self, name: str):
        return wrap(getattr(self._module, name))


def sizeof(thing) -> int:
    """The size of a struct, or of the field that a Place stands for."""
    return size_of(thing.type if isinstance(thing, Place) else thing)


def wrap(value):
    if isinstance(value, StructType):
        return Place(0, value)
    if isinstance(value, types.ModuleType):
        return ModuleView(value)
    return value


class Namespace(dict):
    """The globals of a template: what is imported into it is wrapped."""

    def __init__(self):
        super().__init__(sizeof=sizeof)

    def __setitem__(self, name: str, value) -> None:
        super().__setitem__(name, wrap(value))
