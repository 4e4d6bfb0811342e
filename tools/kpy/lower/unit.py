"""One LLVM module: the functions and statics of one Python module, and what they need from others.

A function that other modules refer to has external linkage; inline functions and instances of
generic ones are copied into every unit that uses them. A `whole` unit (the JIT's) holds everything
that its roots reach.
"""

import os

from kpy.check import checker
from kpy.front.annotations import resolve
from kpy.front.modules import ROOT
from kpy.front.program import Instance
from kpy.front.structs import align_of, size_of
from kpy.front.types import NEVER, NONE, SliceType
from kpy.lower.asm import asm_function
from kpy.lower.debuginfo import Debug
from kpy.lower.function import FunctionWriter, store
from kpy.lower.place import copy_memory
from kpy.lower.static import define_static
from kpy.lower.stmt import block
from kpy.lower.types import (
    SLICE,
    escape,
    is_aggregate,
    quote,
    signature,
)

TRIPLE = "x86_64-unknown-none-elf"
BASE_ATTRIBUTES = 'nounwind noredzone "frame-pointer"="all" "no-builtins"'


class Unit:
    """The text of a module under construction; definitions are queued as they are referred to."""

    def __init__(
        self,
        program,
        module,
        triple=TRIPLE,
        whole=False,
        replaced=(),
        mutants=None,
        stand_ins=None,
        switch_points=None,
        edges=None,
        variants=None,
    ):
        self.program, self.module, self.triple = program, module, triple
        self.mutants, self.switch_points = mutants, switch_points
        self.edges, self.variants = edges, variants
        self.whole, self.replaced = whole, set(replaced)
        self.stand_ins = stand_ins or {}  # by dotted name: the instance compiled in its place
        self.local = "" if whole else "dso_local "
        self.globals, self.declarations, self.bodies = [], {}, []
        self.texts, self.panics = {}, {}
        self.known, self.pending = {}, []
        self.addressed = []  # instances whose address is taken
        self.statics, self.pending_statics = {}, []
        self.debug = Debug(module)

    def function(self, instance):
        """Refer to a function: queue its definition if it belongs here, else declare it."""
        instance = self.stand_ins.get(dotted(instance), instance)
        if instance not in self.known:
            self.known[instance] = quote(instance.symbol)
            if self.is_elsewhere(instance):
                self.declare_function(instance)
            else:
                self.pending.append(instance)
        return self.known[instance]

    def instances(self):
        """Every function referred to so far."""
        return [key for key in self.known if isinstance(key, Instance)]

    def is_elsewhere(self, instance):
        """Whether a function is only declared here."""
        if dotted(instance) in self.replaced or instance.function.traits.kind == "extern":
            return True
        return instance.shared and instance.function.module != self.module and not self.whole

    def declare_function(self, instance):
        result, params = signature(instance)
        noreturn = " noreturn" if instance.result is NEVER else ""
        head = f"declare {self.local}{result} {quote(instance.symbol)}"
        shown = f"{head}({', '.join(params)}) nounwind{noreturn}"
        self.declarations.setdefault(instance.symbol, shown)

    def declare(self, key, text):
        """Declare an intrinsic once."""
        self.declarations.setdefault(key, text)

    def linkage(self, instance):
        """The linkage and attributes of a definition."""
        traits = instance.function.traits
        linkage = self.local if instance.shared else "internal "
        attributes = [BASE_ATTRIBUTES]
        if traits.inline == "always":
            attributes.append("alwaysinline")
        elif traits.inline == "never":
            attributes.append("noinline")
        if instance.result is NEVER:
            attributes.append("noreturn")
        if traits.cold or instance.result is NEVER:
            attributes.append("cold")
        if self.mutants:  # else LLVM concludes from what follows that no check for null fails
            attributes.append("null_pointer_is_valid")
        if not self.whole:
            area = ".text.unlikely." if "cold" in attributes else ".text."
            attributes.append(f'section "{area}{instance.symbol}"')
        return linkage, " ".join(attributes)

    def static(self, static):
        """Refer to a static: queue its definition if it belongs here, else declare it."""
        if static not in self.statics:
            self.statics[static] = quote(static.symbol)
            if not static.extern and (self.whole or static.module == self.module):
                self.pending_statics.append(static)
            else:
                self.declare_static(static)
        return self.statics[static]

    def declare_static(self, static):
        """Memory that another unit defines; in the JIT, which has no other, zeroed memory.

        A symbol of the linker script may mark the end of nothing: it is declared without a size,
        else LLVM would hold that two of them are never at one address.
        """
        type_ = resolve(static.declared)
        size = 0 if static.extern and not self.whole else size_of(type_)
        before, after = ("", " zeroinitializer") if self.whole else ("external ", "")
        self.declarations.setdefault(
            static.symbol,
            f"{quote(static.symbol)} = {before}{self.local}global [{size} x i8]{after}, "
            f"align {align_of(type_)}",
        )

    def text(self, data):
        """A string constant; equal ones are one."""
        if data not in self.texts:
            name = self.texts[data] = f"@text.{len(self.texts)}"
            kind = "private unnamed_addr constant"
            self.globals.append(f'{name} = {kind} [{len(data)} x i8] c"{escape(data)}", align 1')
        return self.texts[data]

    def panic_site(self, path, line, text, shape):
        """What a failed check reports, as one constant, so that each check costs one argument."""
        self.declarations.setdefault(
            "kpy_panic",
            f'declare {self.local}void @"kpy_panic"(ptr, i64, i64) nounwind noreturn cold',
        )
        key = (path, line, text, shape)
        if key not in self.panics:
            name = self.panics[key] = f"@panic.{len(self.panics)}"
            file, words = os.path.relpath(path, ROOT).encode(), text.encode()
            where = f"ptr {self.text(file)}, i64 {len(file)}, i32 {line}, i32 {shape}"
            what = f"ptr {self.text(words)}, i64 {len(words)}"
            self.globals.append(
                f"{name} = private unnamed_addr constant {{ ptr, i64, i32, i32, ptr, i64 }} "
                f"{{ {where}, {what} }}, align 8"
            )
        return self.panics[key]

    def enum_names(self, enum):
        """The function from a member of an enum to its name."""
        if enum not in self.known:
            name = self.known[enum] = quote(f"kpy.names.{enum.module}.{enum.name}")
            kind = f"i{enum.bits}"
            arms = " ".join(f"{kind} {int(m)}, label %m{int(m) & 0xFFFFFFFFFFFFFFFF}" for m in enum)
            lines = [f"define internal {SLICE} {name}({kind} %value) {BASE_ATTRIBUTES} {{"]
            lines.append(f"  switch {kind} %value, label %other [ {arms} ]")
            for member in enum:
                lines += [
                    f"m{int(member) & 0xFFFFFFFFFFFFFFFF}:",
                    f"  ret {SLICE} {self._text_value(member.name)}",
                ]
            lines += ["other:", f"  ret {SLICE} {self._text_value('?')}", "}"]
            self.bodies.append("\n".join(lines))
        return self.known[enum]

    def _text_value(self, text):
        return f"{{ ptr {self.text(text.encode())}, i64 {len(text.encode())} }}"

    def finish(self):
        """Define everything queued; return the module as text."""
        while self.pending or self.pending_statics:
            while self.pending:
                self._define(self.pending.pop())
            while self.pending_statics:
                self.globals.append(define_static(self, self.pending_statics.pop()))
        defined = {i.symbol for i in self.instances() if not self.is_elsewhere(i)}
        declarations = [text for key, text in self.declarations.items() if key not in defined]
        if self.edges:
            self.globals.append(self.edges.define())
        head = [f'source_filename = "{self.module}"', f'target triple = "{self.triple}"']
        return "\n".join(
            [*head, *self.globals, *declarations, *self.bodies, *self.debug.finish(), ""]
        )

    def _define(self, instance):
        checker.check(self.program, instance)  # only the JIT meets functions not yet checked here
        if instance.state == "failed":
            return
        if self.mutants and instance.body:
            self.mutants(instance)
        if self.variants and instance.body:
            self.variants(dotted(instance), instance)
        if instance.function.traits.kind == "asm":
            self.bodies.append(asm_function(self, instance))
        else:
            self.bodies.append(lower_function(self, instance))


def dotted(instance):
    """The name by which tests call a function: its module's and its own."""
    return f"{instance.function.module}.{instance.function.name}"


def lower_function(unit, instance):
    """The LLVM definition of a checked function."""
    f = FunctionWriter(unit, instance)
    try:
        _lower_body(f, instance)
    except Exception as error:  # noqa: BLE001  a bug of the compiler, to be reported as one
        checker.internal_error(unit.program, instance, error, f.node)
    return f.finish()


def _lower_body(f, instance):
    shift = 1 if is_aggregate(instance.result) else 0
    f.at(instance.function.tree)
    f.count_edge("enter")
    for i, var in enumerate(instance.body.params, shift):
        slot = f.slot(var)
        if is_aggregate(var.type):
            copy_memory(f, var.type, slot, f"%arg{i}")
        else:
            store(f, var.type, f"%arg{i}", slot)
            if isinstance(var.type, SliceType):  # LLVM loses it as it takes the two words apart
                f.note_value(var, f"%arg{i}")
    block(f, instance.body.statements)
    if not f.ended:
        f.end("ret void" if instance.result is NONE else "unreachable")
