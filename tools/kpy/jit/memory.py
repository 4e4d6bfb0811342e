"""Kernel memory as Python sees it: values of any type at an address of this process."""

import ctypes

from kpy.front.structs import StructType, StructValue, size_of
from kpy.front.types import (
    BOOL,
    NEVER,
    NONE,
    ArrayType,
    EnumType,
    FnType,
    GuestType,
    OptionalType,
    PtrType,
    ResultType,
    SliceType,
    TupleType,
    VolatileType,
)
from kpy.lower.types import is_aggregate


def read(type_, address):
    """The Python value of a type at an address: int, bool, `View`, `SliceView`, None for null."""
    if isinstance(type_, VolatileType):
        return read(type_.element, address)
    if is_aggregate(type_):
        return View(type_, address)
    if isinstance(type_, SliceType):
        pointer, length = read_word(address), read_word(address + 8)
        return SliceView(type_, pointer, length)
    number = int.from_bytes(
        ctypes.string_at(address, size_of(type_)), "little", signed=getattr(type_, "signed", False)
    )
    return from_word(type_, number)


def from_word(type_, number):
    """Turn the bits of a scalar into a Python value."""
    if type_ is BOOL:
        return bool(number)
    if isinstance(type_, EnumType):
        return next((member for member in type_ if int(member) == number), number)
    if isinstance(type_, OptionalType):
        return None if number == type_.none else number
    if isinstance(type_, PtrType):
        return None if number == 0 else View(type_.target, number)
    return number


def read_word(address):
    return int.from_bytes(ctypes.string_at(address, 8), "little")


def write(type_, address, value, keep):
    """Store a Python value; `keep` collects what must stay alive as long as the memory."""
    if isinstance(type_, VolatileType):
        write(type_.element, address, value, keep)
    elif isinstance(type_, StructType):
        _write_struct(type_, address, value, keep)
    elif isinstance(type_, ArrayType):
        for i, item in value.items() if isinstance(value, dict) else enumerate(value):
            write(type_.element, address + i * size_of(type_.element), item, keep)
    elif isinstance(type_, SliceType):
        pointer, length = slice_words(type_, value, keep)
        ctypes.memmove(address, pointer.to_bytes(8, "little") + length.to_bytes(8, "little"), 16)
    else:
        size = size_of(type_)
        ctypes.memmove(
            address, (to_word(type_, value) & (1 << 8 * size) - 1).to_bytes(size, "little"), size
        )


def _write_struct(type_, address, value, keep):
    if isinstance(value, View):
        ctypes.memmove(address, int(value), type_.size)
        return
    fields = value.fields if isinstance(value, StructValue) else value
    for name, item in fields.items():
        field = type_.fields[name]
        write(field.type, address + field.offset, item, keep)


def to_word(type_, value):
    """The bits of a scalar."""
    if value is None:
        return type_.none if isinstance(type_, OptionalType) else 0
    if isinstance(value, View):
        return int(value)
    if isinstance(value, SliceView):
        return value.address
    if isinstance(type_, (PtrType, FnType, GuestType)) and not isinstance(value, int):
        return ctypes.addressof(value)
    number = int(value)
    if hasattr(type_, "fits") and not type_.fits(number):
        raise OverflowError(f"{number} does not fit in {type_}")
    return number


def slice_words(type_, value, keep):
    """The address and length of a slice made of bytes, a list, a view or a static."""
    if isinstance(value, View):
        return int(value), len(value)
    if isinstance(value, SliceView):
        return value.address, value.length
    if isinstance(value, str):
        value = value.encode()
    size = size_of(type_.element)
    if isinstance(value, bytes) and size == 1:
        buffer = ctypes.create_string_buffer(value, max(1, len(value)))
        keep.append(buffer)
        return ctypes.addressof(buffer), len(value)
    buffer = ctypes.create_string_buffer(max(1, len(value) * size))
    keep.append(buffer)
    address = ctypes.addressof(buffer)
    for i, item in enumerate(value):
        write(type_.element, address + i * size, item, keep)
    return address, len(value)


class View:
    """A struct, array or scalar in memory. Fields are attributes, elements are indexed; `int(view)`
    is the address.

    What is no field: `value` is all of it, `type`, `address`, and `ref(name)`, a view of a field.
    """

    def __init__(self, type_, address, keep=None):
        vars(self).update(_type=type_, _address=address, _keep=[] if keep is None else keep)

    def __int__(self):
        return self._address

    def __eq__(self, other):
        return isinstance(other, View) and int(other) == self._address

    def __hash__(self):
        return hash(self._address)

    def __repr__(self):
        return f"<{self._type} at {self._address:#x}>"

    def __getattr__(self, name):
        if name in self._fields():
            field = self._fields()[name]
            return read(field.type, self._address + field.offset)
        if name == "value":
            return read(self._type, self._address)
        if name in ("type", "address"):
            return vars(self)[f"_{name}"]
        if name == "ref":
            return self._view_of
        raise AttributeError(f"{self._type} has no field {name}")

    def __setattr__(self, name, value):
        if name in self._fields():
            field = self._fields()[name]
            write(field.type, self._address + field.offset, value, self._keep)
        elif name == "value":
            write(self._type, self._address, value, self._keep)
        else:
            raise AttributeError(f"{self._type} has no field {name}")

    def _fields(self):
        return self._type.fields if isinstance(self._type, StructType) else {}

    def _view_of(self, name):
        field = self._fields()[name]
        return View(field.type, self._address + field.offset, self._keep)

    def __len__(self):
        return self._type.count

    def _element(self, index):
        if not 0 <= index < self._type.count:
            raise IndexError(f"{index} is outside {self._type}")
        return self._address + index * size_of(self._type.element)

    def __getitem__(self, index):
        return read(self._type.element, self._element(index))

    def __setitem__(self, index, value):
        write(self._type.element, self._element(index), value, self._keep)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __bytes__(self):
        return ctypes.string_at(self._address, size_of(self._type))


class SliceView:
    """A slice: its address and length; iterates over the elements, `bytes(…)` copies the memory."""

    def __init__(self, type_, address, length):
        self.type, self.address, self.length = type_, address, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if not 0 <= index < self.length:
            raise IndexError(f"{index} is outside a slice of {self.length}")
        return read(self.type.element, self.address + index * size_of(self.type.element))

    def __iter__(self):
        return (self[i] for i in range(self.length))

    def __bytes__(self):
        return ctypes.string_at(self.address, self.length * size_of(self.type.element))


def cell_size(type_):
    """The bytes that an argument or result takes in the buffers of a call."""
    if type_ in (NONE, NEVER):
        return 0
    if isinstance(type_, ResultType):
        return cell_size(type_.form)
    if isinstance(type_, TupleType):
        return sum(cell_size(item) for item in type_.items)
    return (size_of(type_) + 7) // 8 * 8
