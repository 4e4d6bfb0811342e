"""The ABI as data: scalars, pointers, arrays and records, laid out as System V x86-64 says."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scalar:
    """An integer; `alias` is the ABI's own name for it (`evtchn_port_t`), `char` marks text."""

    bits: int
    signed: bool
    alias: str | None = None
    char: bool = False

    @property
    def size(self) -> int:
        return self.bits // 8

    align = size


@dataclass(frozen=True)
class Pointer:
    """A guest handle; `target` is None for void."""

    target: object
    size: int = 8
    align: int = 8


@dataclass(frozen=True)
class Array:
    element: object
    count: int

    @property
    def size(self) -> int:
        return self.element.size * self.count

    @property
    def align(self) -> int:
        return self.element.align


@dataclass(frozen=True)
class Field:
    name: str
    type: object
    offset: int


@dataclass(eq=False)
class Record:
    """A struct or union. `c_name` is what C calls it, or None when it is anonymous inside another
    one.
    """

    name: str
    is_union: bool
    where: str
    c_name: str | None = None
    packed: bool = False
    fields: list[Field] = field(default_factory=list)
    size: int = 0
    align: int = 1

    def lay_out(self, members: list[tuple[str, object]]) -> None:
        """Place the members and settle size and alignment."""
        end = 0
        for name, type_ in members:
            align = 1 if self.packed else type_.align
            offset = 0 if self.is_union else round_up(end, align)
            self.fields.append(Field(name, type_, offset))
            end = max(end, offset + type_.size)
            self.align = max(self.align, align)
        self.size = round_up(end, self.align)


@dataclass(frozen=True)
class Constant:
    name: str
    value: int | str
    where: str


@dataclass
class Abi:
    """Everything that the headers define, in the order of definition."""

    records: list[Record] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    typedefs: list[tuple[str, object, str]] = field(default_factory=list)


def round_up(value: int, to: int) -> int:
    return -(-value // to) * to
