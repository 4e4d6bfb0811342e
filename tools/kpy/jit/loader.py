"""The host JIT: kernel code as Python functions, for tests.

    stand_ins = {"kernel.x86.cpu.read_cr3": lambda: 0x1000}
    program = kpy.jit.load("kernel.evtchn.channel", replace=stand_ins)
    domain = program.new(Domain, id=3)
    assert program.evtchn_send(domain, 5) == 0

Everything that the module's functions reach is compiled, other modules' functions too. Functions
without a body on the host (assembly) must be replaced, else calling them raises `NotReplaced`. A
failed check raises `KpyPanic`.
"""

import ctypes
import sys

from kpy.front import modules
from kpy.front.annotations import resolve
from kpy.front.diagnostics import Reported
from kpy.front.program import Program
from kpy.front.structs import size_of
from kpy.front.types import NEVER, NONE, ResultType, SliceType, TupleType, i64
from kpy.jit import calls as jit_calls
from kpy.jit import link as jit_link
from kpy.jit.link import HOST_TRIPLE
from kpy.jit.memory import View, cell_size, from_word, read, read_word, slice_words, to_word, write
from kpy.lower.edges import Edges
from kpy.lower.mutants import Mutants
from kpy.lower.panics import render
from kpy.lower.types import is_aggregate
from kpy.lower.unit import Unit, dotted
from kpy.lower.variants import Variants

SWITCHES = ("kpy.lower.mutant_switch", "kpy.lower.variant_switch")  # what tests choose, not states
CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_uint64, ctypes.c_uint64)


class KpyPanic(Exception):
    """A check failed: file, line and text as the program would print them."""

    def __init__(self, file, line, text):
        super().__init__(f"{file}:{line}: {text}")
        self.file, self.line, self.text = file, line, text


class NotReplaced(Exception):
    """Compiled code called a function that only exists on the real machine."""


class CompileError(Exception):
    """The program has errors; the text lists them."""


class Loaded:
    """A compiled program: attributes are functions and statics; `[…]` takes dotted names."""

    def __init__(self, module, instances, statics, state, checks=(), edges=(), variants=()):
        self.checks, self.edges, self.variants = checks, edges, variants
        counts = state.lookup("kpy.edges")
        self.edge_counts = (ctypes.c_uint8 * len(edges)).from_address(counts) if counts else None
        self._module, self._lookup, self._state = module, state.lookup, state
        self._functions = {dotted(i): i for i in instances}
        self._statics = {f"{s.module}.{s.name}": s for s in statics}

    def __getattr__(self, name):
        return self[f"{self._module}.{name}"]

    def __getitem__(self, name):
        """A function or static of any module, by its dotted name."""
        if name in self._functions:
            return self._function(self._functions[name])
        if name in self._statics:
            static = self._statics[name]
            return View(resolve(static.declared), self._lookup(static.symbol), self._state.keep)
        raise AttributeError(f"the program has no `{name}`")

    def statics(self):
        """Views of all memory that the program's modules reserve; not of its switches."""
        return [self[n] for n, s in self._statics.items() if s.module not in SWITCHES]

    def new(self, type_, **fields):
        """Make a zeroed value of a type in memory of its own, and set fields."""
        buffer = ctypes.create_string_buffer(size_of(type_) + 4096)
        self._state.keep.append(buffer)
        align = max(16, getattr(type_, "align", 16))
        view = View(
            type_, (ctypes.addressof(buffer) + align - 1) // align * align, self._state.keep
        )
        for name, value in fields.items():
            setattr(view, name, value)
        return view

    def switch_off(self, check=None):
        """Switch one of the program's `checks` off, and all others on."""
        self["kpy.lower.mutant_switch.switched_off"].value = check.number if check else 0

    def use_version(self, name=None):
        """Put the other version of a function of `variants` in force, and no other."""
        self["kpy.lower.variant_switch.chosen"].value = self.variants[name] if name else 0

    def refused(self):
        """The checks that have refused something since this was asked last."""
        flags = self["kpy.lower.mutant_switch.refused"]
        seen = bytes(flags)
        found = [check for check in self.checks if seen[check.number]]
        for check in found:
            flags[check.number] = 0
        return found

    def _function(self, instance):
        wrapper = self._lookup(f"kpy.call.{instance.symbol}")
        if not wrapper:
            raise AttributeError(f"`{instance.symbol}` was not compiled")
        return lambda *arguments: self._state.call(instance, wrapper, arguments)


class State:
    """What the running program shares with Python: memory kept alive, and what to raise."""

    def __init__(self, lookup=None):
        self.keep, self.error, self.lookup = [], None, lookup

    def call(self, instance, wrapper, arguments):
        """Call compiled code; raise what it or a replacement wants raised."""
        if len(arguments) != len(instance.params):
            raise TypeError(f"{instance.function.name} takes {len(instance.params)} arguments")
        cells = ctypes.create_string_buffer(
            8 + sum(cell_size(type_) for _, type_ in instance.params)
        )
        out = ctypes.create_string_buffer(16 + cell_size(instance.result))
        address = ctypes.addressof(cells)
        for value, (_, type_) in zip(arguments, instance.params, strict=True):
            put_cell(type_, address, value, self.keep)
            address += cell_size(type_)
        enter = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)(
            self.lookup("kpy.try")
        )
        if enter(wrapper, ctypes.addressof(cells), ctypes.addressof(out)):
            error, self.error = self.error, None
            ctypes.c_uint64.from_address(self.lookup("kpy.pending")).value = 0
            raise error
        if is_aggregate(instance.result):
            self.keep.append(out)
        return get_cell(instance.result, ctypes.addressof(out))

    def panic(self, cells, _):
        """Called by the program's kpy_panic."""
        site, first, second = (read_word(cells + 8 * i) for i in range(3))
        place = read_word(site + 16)
        file, text = (
            ctypes.string_at(read_word(site + at), read_word(site + at + 8)).decode()
            for at in (0, 24)
        )
        text = render(text, place >> 32, first, second)
        self.error = KpyPanic(file, place & 0xFFFFFFFF, text)

    def replacement(self, instance, python):
        """A C callback that runs a Python function in place of a compiled one."""

        def run(cells, out):
            values = []
            try:
                for _, type_ in instance.params:
                    values.append(get_cell(type_, cells))
                    cells += cell_size(type_)
                put_cell(instance.result, out, python(*values), self.keep)
            except BaseException as error:  # noqa: BLE001  raised again by `call`
                self.error = error
                ctypes.c_uint64.from_address(self.lookup("kpy.pending")).value = 1

        return CALLBACK(run)


def put_cell(type_, address, value, keep):
    """Write an argument or result into its cells."""
    if type_ in (NONE, NEVER):
        return
    if isinstance(type_, ResultType):
        _put_result(type_, address, value, keep)
    elif isinstance(type_, TupleType):
        for item, part in zip(type_.items, value, strict=True):
            put_cell(item, address, part, keep)
            address += cell_size(item)
    elif is_aggregate(type_):
        write(type_, address, value, keep)
    elif isinstance(type_, SliceType):
        pointer, length = slice_words(type_, value, keep)
        ctypes.memmove(address, pointer.to_bytes(8, "little") + length.to_bytes(8, "little"), 16)
    else:
        word = to_word(type_, value) & (1 << 64) - 1
        ctypes.memmove(address, word.to_bytes(8, "little"), 8)


def get_cell(type_, address):
    """Read an argument or result from its cells."""
    if type_ in (NONE, NEVER):
        return None
    if isinstance(type_, ResultType):
        return _get_result(type_, address)
    if isinstance(type_, TupleType):
        values = []
        for item in type_.items:
            values.append(get_cell(item, address))
            address += cell_size(item)
        return tuple(values)
    if is_aggregate(type_) or isinstance(type_, SliceType):
        return read(type_, address)
    size = size_of(type_)
    number = int.from_bytes(
        ctypes.string_at(address, size), "little", signed=getattr(type_, "signed", False)
    )
    return from_word(type_, number)


def _put_result(type_, address, value, keep):
    """To Python a `Result` is its value, or the error code as a negative int."""
    failed = isinstance(value, int) and value < 0
    if type_.value is NONE or failed:
        put_cell(i64, address, value or 0, keep)
    elif isinstance(type_.form, TupleType):
        put_cell(type_.form, address, (0, value), keep)
    else:
        put_cell(type_.value, address, value, keep)


def _get_result(type_, address):
    code = get_cell(i64, address)
    if code < 0 and (code >= -type_.MAX_ERROR or type_.form is i64):
        return code
    if isinstance(type_.form, TupleType):
        return get_cell(type_.form, address)[1]
    return code if type_.value is NONE else get_cell(type_.value, address)


def load(name, replace=None, also=(), mutants=(), switch_points=None, edges=(), variants=None):
    """Compile a module for this process.

    Args: replace: by the dotted names of the functions that they stand for, Python callables, or
    dotted names of kernel Python functions, which are compiled in their place; also: modules whose
    functions can be called too, whether or not the first one reaches them; mutants: modules or
    packages whose checks can be switched off (kpy.lower.mutants); switch_points: a hook before each
    access to shared memory (kpy.lower.switch_points); edges: modules or packages whose edges are
    counted (kpy.lower.edges); variants: other versions of functions, as in `replace`, compiled
    beside them (kpy.lower.variants).
    """
    program, replace = Program(), dict(replace or {})
    try:
        module = modules.load(program, name)
        roots = modules.declared_instances(program, module)
        for other in also:
            roots += modules.declared_instances(program, modules.load(program, other))
        stand_ins = _stand_ins(program, replace)
        others = Variants(_stand_ins(program, variants or {}))
        if switch_points:
            switch_points.instance = _instance(program, switch_points.hook)
    except Reported:
        raise CompileError(program.diagnostics.render()) from None
    rewrite = Mutants(program, mutants) if mutants else None
    python = {name: value for name, value in replace.items() if name not in stand_ins}
    unit = Unit(
        program,
        module.__name__,
        HOST_TRIPLE,
        whole=True,
        replaced=python,
        mutants=rewrite,
        stand_ins=stand_ins,
        switch_points=switch_points,
        edges=Edges(edges) if edges else None,
        variants=others,
    )
    for instance in roots:
        unit.function(instance)
    for static in modules.statics_of(module):
        unit.static(static)
    text = unit.finish()
    if len(program.diagnostics):
        raise CompileError(program.diagnostics.render())
    missing = [name for name in replace if not _exists(name)]
    if missing:
        raise ValueError(f"no such function: {', '.join(missing)}")
    return _compile(unit, text, python)


def _stand_ins(program, replace):
    """The instances of kernel Python functions that stand for others, by the names of the latter.

    Each must take and give what the other does.
    """
    found = {}
    for name, value in replace.items():
        if isinstance(value, str):
            original, other = (_instance(program, dotted_name) for dotted_name in (name, value))
            kinds = [[type_ for _, type_ in i.params] + [i.result] for i in (original, other)]
            if kinds[0] != kinds[1]:
                raise ValueError(f"`{value}` has not the parameters and result of `{name}`")
            found[name] = other
    return found


def _instance(program, dotted_name):
    """Declare a function by its dotted name."""
    module, name = dotted_name.rsplit(".", 1)
    python = getattr(modules.load(program, module), name, None)
    if not modules.is_function(python):
        raise ValueError(f"no such function: {dotted_name}")
    return program.instantiate(program.declare(python), {})


def _compile(unit, text, replace):
    state = State()
    inside, outside = [], []
    for instance in unit.instances():
        (outside if unit.is_elsewhere(instance) else inside).append(instance)
    outside = [instance for instance in outside if instance.symbol != "kpy_panic"]
    extra = [jit_calls.inbound(instance) for instance in inside]
    extra += [jit_calls.outbound(instance) for instance in outside]
    state.lookup = jit_link.run(
        jit_link.assemble(text, [i.symbol for i in outside], [*extra, jit_calls.PANIC])
    )
    python = {"kpy_panic": CALLBACK(state.panic)}
    for instance in outside:
        function = replace.get(dotted(instance)) or _absent(instance)
        python[instance.symbol] = state.replacement(instance, function)
    for symbol, callback in python.items():
        state.keep.append(callback)
        place = ctypes.c_void_p.from_address(state.lookup(jit_calls.slot(symbol)))
        place.value = ctypes.cast(callback, ctypes.c_void_p).value
    checks = unit.mutants.checks if unit.mutants else []
    edges = unit.edges.edges if unit.edges else []
    variants = unit.variants.numbers
    return Loaded(unit.module, inside, list(unit.statics), state, checks, edges, variants)


def _exists(dotted):
    """Whether a dotted name is that of a function (or of a method: module.Struct.method)."""
    path, names = dotted.split("."), []
    while path and ".".join(path) not in sys.modules:
        names.insert(0, path.pop())
    found = sys.modules.get(".".join(path))
    for name in names:
        found = getattr(found, name, None)
    return callable(found) and bool(names)


def _absent(instance):
    def raise_error(*_):
        raise NotReplaced(f"`{dotted(instance)}` does not exist on the host: replace it")

    return raise_error
