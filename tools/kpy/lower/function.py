"""Writing the LLVM code of one function: blocks, registers, stack slots, checks.

The text of the IR is written directly (and parsed by llvmlite): it is the one notation in which
LLVM has no gaps.
"""

from kpy.lower.panics import widen
from kpy.lower.types import alignment, memory_type, quote, register_type, signature

# What a failed check shows must not keep the function that checks from being inlined.
INLINE_COST = '"call-inline-cost"="30"'


class FunctionWriter:
    """The function under construction; `emit` appends to the current block."""

    def __init__(self, unit, instance):
        self.unit, self.instance = unit, instance
        self.path = instance.function.path
        self.allocas, self.lines = [], []
        self.slots = {}
        self.frames = []  # open loops and `with` blocks, innermost last
        self.panics = {}
        self.count = 0
        self.ended = False
        self.node = instance.function.tree
        self.edges = unit.edges if unit.edges and unit.edges.covers(instance) else None
        self.scope = unit.debug.subprogram(instance)
        self.location = ""

    def name(self, hint="t"):
        self.count += 1
        return f"{hint}.{self.count}"

    def at(self, node):
        """Make the instructions that follow belong to a syntax node."""
        self.node = node
        self.location = self.unit.debug.location(node, self.scope)

    def emit(self, text):
        """Append an instruction with a result; return its register."""
        register = "%" + self.name()
        self.line(f"{register} = {text}")
        return register

    def line(self, text):
        """Append an instruction without result."""
        if self.ended:
            self.label(self.name("dead"))
        self.lines.append(f"  {text}{self.location}")

    def label(self, name):
        """Start a block; the one before falls through to it unless it ended."""
        if not self.ended:
            self.lines.append(f"  br label %{name}{self.location}")
        self.lines.append(f"{name}:")
        self.ended = False

    def end(self, text):
        """End the current block."""
        self.line(text)
        self.ended = True

    def jump(self, name):
        if not self.ended:
            self.end(f"br label %{name}")

    def branch(self, condition, then, other):
        self.end(f"br i1 {condition}, label %{then}, label %{other}")

    def fork(self, condition, then, other, node):
        """Branch by a condition at a node of the source, and count which way was taken."""
        panics = {label for label, _ in self.panics.values()}
        if self.edges is None or then in panics or other in panics:
            self.branch(condition, then, other)
            return
        self.at(node)
        ways = [self.name("edge"), self.name("edge")]
        self.branch(condition, *ways)
        for label, target, way in zip(ways, (then, other), ("true", "false"), strict=True):
            self.label(label)
            self.count_edge(way)
            self.jump(target)

    def count_edge(self, way):
        """Count that this place was reached, if edges are counted here."""
        if self.edges:
            self.edges.count(self, way)

    def current_block(self):
        """The label of the current block, for a phi."""
        for text in reversed(self.lines):
            if not text.startswith(" "):
                return text.rstrip(":")
        return "entry"

    def stack(self, type_, hint="s"):
        """Reserve stack memory for one value; return its address."""
        register = "%" + self.name(hint)
        self.allocas.append(f"  {register} = alloca {memory_type(type_)}, align {alignment(type_)}")
        return register

    def slot(self, var):
        """The stack memory of a variable."""
        if var not in self.slots:
            self.slots[var] = self.stack(var.type, var.name or "tmp")
            if var.name:
                self._describe(var)
        return self.slots[var]

    def _describe(self, var):
        record = self.unit.debug.variable(var, self.scope, self.slots[var])
        if record:
            self.allocas.append(f"    {record}")

    def note_value(self, var, register):
        """Tell debuggers the value of a variable whose memory they may not see."""
        type_ = memory_type(var.type)
        self.lines.append(f"    {self.unit.debug.value(var, self.scope, type_, register)}")

    def check(self, bad, node, text, *values, shape=0):
        """Panic with the text when `bad` holds; its marks stand for values, (register, type)."""
        if bad in ("false", "0"):
            return
        fine = self.name("ok")
        self.branch(bad, self.panic_block(node, text, values, shape), fine)
        self.label(fine)

    def panic_block(self, node, text, values=(), shape=0):
        """The block that panics for this line, text and values; one for each."""
        key = (node.lineno, text, tuple(values), shape)
        if key not in self.panics:
            self.panics[key] = (self.name("panic"), self.unit.debug.location(node, self.scope))
        return self.panics[key][0]

    def panic(self, node, text, *values):
        self.jump(self.panic_block(node, text, values))

    def finish(self):
        """Append the panic blocks, and return the whole definition."""
        for (line, text, values, shape), (label, location) in self.panics.items():
            site = self.unit.panic_site(self.path, line, text, shape)
            self.lines.append(f"{label}:")
            words = [widen(self, register, type_, self.lines) for register, type_ in values]
            words = ", ".join(f"i64 {word}" for word in [*words, "undef", "undef"][:2])
            call = f'call void @"kpy_panic"(ptr {site}, {words}) {INLINE_COST}'
            self.lines.append(f"  {call}{location}")
            self.lines.append(f"  unreachable{location}")
        return "\n".join([self._header(), "entry:", *self.allocas, *self.lines, "}"])

    def _header(self):
        result, params = signature(self.instance)
        named = ", ".join(f"{type_} %arg{i}" for i, type_ in enumerate(params))
        linkage, attributes = self.unit.linkage(self.instance)
        debug = f" !dbg {self.scope}" if self.scope else ""
        name = quote(self.instance.symbol)
        return f"define {linkage}{result} {name}({named}) {attributes}{debug} {{"


def load(f, type_, address, volatile=False, align=None):
    """Read a register value from memory."""
    how = "volatile " if volatile else ""
    register = f.emit(
        f"load {how}{memory_type(type_)}, ptr {address}, align {align or alignment(type_)}"
    )
    if memory_type(type_) != register_type(type_):
        register = f.emit(f"icmp ne i8 {register}, 0")
    return register


def store(f, type_, value, address, volatile=False, align=None):
    """Write a register value to memory."""
    how = "volatile " if volatile else ""
    if memory_type(type_) != register_type(type_):
        value = f.emit(f"zext i1 {value} to i8")
    f.line(
        f"store {how}{memory_type(type_)} {value}, ptr {address}, align {align or alignment(type_)}"
    )


def offset(f, address, bytes_):
    """The address some constant number of bytes on."""
    return (
        address if not bytes_ else f.emit(f"getelementptr inbounds i8, ptr {address}, i64 {bytes_}")
    )


def resize(f, register, source, target):
    """Widen (by the sign of the source) or cut an integer."""
    if source.bits == target.bits:
        return register
    verb = "trunc" if source.bits > target.bits else "sext" if source.signed else "zext"
    return f.emit(f"{verb} i{source.bits} {register} to i{target.bits}")


def to_u64(f, register, source):
    """An integer of any type as i64: a negative one becomes huge, and fails every bound."""
    if source.bits == 64:
        return register
    if not register.startswith("%"):
        return register
    return f.emit(f"{'sext' if source.signed else 'zext'} i{source.bits} {register} to i64")


def intrinsic(f, result, name, arguments):
    """Call an LLVM intrinsic; arguments are (type, register) pairs."""
    types = ", ".join(type_ for type_, _ in arguments)
    f.unit.declare(name, f"declare {result} @{name}({types})")
    call = f"call {result} @{name}({', '.join(f'{t} {r}' for t, r in arguments)})"
    if result == "void":
        f.line(call)
        return ""
    return f.emit(call)
