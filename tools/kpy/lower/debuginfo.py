"""DWARF: lines, parameters and locals, statics and struct types, as LLVM metadata."""

import os

from kpy.front.modules import ROOT
from kpy.front.structs import StructType, TaintedStruct, size_of
from kpy.front.types import (
    BOOL,
    NEVER,
    NONE,
    ArrayType,
    EnumType,
    FnType,
    GuestType,
    IntType,
    Newtype,
    OptionalType,
    PtrType,
    ResultType,
    SliceType,
    TaintedType,
    TupleType,
    VolatileType,
    u64,
)


class Debug:
    """The metadata of one unit; every method returns `!N` references, made on first use."""

    def __init__(self, module):
        self.nodes, self.known, self.statics = [], {}, []
        # By scope: the number of parameters so far, the file, and all variables. A debugger lists
        # a variable even where it was optimised away.
        self.params, self.files, self.variables = {}, {}, {}
        self.described = {}  # (scope, variable): its node, its location
        self.producer = self._node(
            'distinct !DICompileUnit(language: DW_LANG_C11, file: {file}, producer: "kpy", '
            "isOptimized: true, runtimeVersion: 0, emissionKind: FullDebug, globals: {globals}, "
            "nameTableKind: None)"
        )
        self.module = module
        self.file_of_unit = None

    def _node(self, text):
        self.nodes.append(text)
        return f"!{len(self.nodes) - 1}"

    def _once(self, key, make):
        if key not in self.known:
            self.known[key] = self._node(make())
        return self.known[key]

    def file(self, path):
        """A source file, named from the top of the tree: gdb finds
        `kernel/evtchn/channel.py:118`."""
        path = os.path.abspath(path)
        folder, name = os.path.split(path)
        if path.startswith(ROOT + os.sep):
            folder, name = ROOT, os.path.relpath(path, ROOT)
        found = self._once(
            ("file", path), lambda: f'!DIFile(filename: "{name}", directory: "{folder}")'
        )
        self.file_of_unit = self.file_of_unit or found
        return found

    def subprogram(self, instance):
        """The scope of a function."""
        key = ("subprogram", instance)
        if key not in self.known:
            function, file = instance.function, self.file(instance.function.path)
            types = [
                self.type(instance.result),
                *(self.type(type_) for _, type_ in instance.params),
            ]
            kind = self._node(f"!DISubroutineType(types: {self._list(types)})")
            line = function.tree.lineno
            self.known[key] = self._node(
                f'distinct !DISubprogram(name: "{function.name}", scope: {file}, '
                f"file: {file}, line: {line}, type: {kind}, scopeLine: {line}, "
                f"spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: {self.producer}, "
                "flags: DIFlagAllCallsDescribed, retainedNodes: {variables})"
            )
            self.files[self.known[key]] = file
            self.variables[self.known[key]] = []
        return self.known[key]

    def _list(self, items):
        return self._node("!{" + ", ".join(items) + "}")

    def location(self, node, scope):
        """The suffix that ties an instruction to a syntax node."""
        line, column = node.lineno, node.col_offset + 1
        key = ("location", line, column, scope)
        found = self._once(
            key, lambda: f"!DILocation(line: {line}, column: {column}, scope: {scope})"
        )
        return f", !dbg {found}"

    def variable(self, var, scope, address):
        """The record that tells where a variable lives."""
        arg = ""
        if var.is_param:
            self.params[scope] = self.params.get(scope, 0) + 1
            arg = f"arg: {self.params[scope]}, "
        file = self.files[scope]
        made = self._node(
            f'!DILocalVariable(name: "{var.name}", {arg}scope: {scope}, file: {file}, '
            f"line: {var.line}, type: {self.type(var.type)})"
        )
        self.variables[scope].append(made)
        where = self._once(
            ("location", var.line, 1, scope),
            lambda: f"!DILocation(line: {var.line}, column: 1, scope: {scope})",
        )
        self.described[scope, var] = (made, where)
        return f"#dbg_declare(ptr {address}, {made}, !DIExpression(), {where})"

    def value(self, var, scope, type_, register):
        """The record that tells the value of a variable that was described, from here on."""
        made, where = self.described[scope, var]
        return f"#dbg_value({type_} {register}, {made}, !DIExpression(), {where})"

    def static(self, static, type_, line):
        """Describe a static, declared in `line`; return the attachment to its definition."""
        file = self.file(static.scope["__file__"])
        variable = self._node(
            f'distinct !DIGlobalVariable(name: "{static.name}", scope: {self.producer}, '
            f"file: {file}, line: {line}, type: {self.type(type_)}, isLocal: false, "
            "isDefinition: true)"
        )
        whole = self._node(f"!DIGlobalVariableExpression(var: {variable}, expr: !DIExpression())")
        self.statics.append(whole)
        return f", !dbg {whole}"

    def type(self, type_):
        """Describe a type; structs are entered before their fields, which may point back."""
        if type_ in (NONE, NEVER):
            return "null"
        if isinstance(type_, ResultType):
            return self.type(type_.form)
        if isinstance(type_, OptionalType):
            return self.type(type_.newtype)
        if isinstance(type_, (TaintedType, TaintedStruct)):
            return self.type(type_.untainted())
        if type_ not in self.known:
            self.known[type_] = self._node("")
            number = int(self.known[type_][1:])
            self.nodes[number] = self._describe(type_)
        return self.known[type_]

    def _describe(self, type_):
        if isinstance(type_, IntType):
            encoding = "DW_ATE_signed" if type_.signed else "DW_ATE_unsigned"
            return f'!DIBasicType(name: "{type_}", size: {type_.bits}, encoding: {encoding})'
        if type_ is BOOL:
            return '!DIBasicType(name: "bool", size: 8, encoding: DW_ATE_boolean)'
        if isinstance(type_, (Newtype, GuestType)):
            base = self.type(type_.base if isinstance(type_, Newtype) else u64)
            return f'!DIDerivedType(tag: DW_TAG_typedef, name: "{type_}", baseType: {base})'
        if isinstance(type_, EnumType):
            return self._enum(type_)
        if isinstance(type_, (PtrType, FnType)):
            target = self.type(type_.target) if isinstance(type_, PtrType) else "null"
            return f"!DIDerivedType(tag: DW_TAG_pointer_type, baseType: {target}, size: 64)"
        if isinstance(type_, VolatileType):
            return (
                f"!DIDerivedType(tag: DW_TAG_volatile_type, baseType: {self.type(type_.element)})"
            )
        if isinstance(type_, ArrayType):
            bounds = self._list([self._node(f"!DISubrange(count: {type_.count})")])
            element = self.type(type_.element)
            size = size_of(type_) * 8
            return (
                f"!DICompositeType(tag: DW_TAG_array_type, baseType: {element}, size: {size}, "
                f"elements: {bounds})"
            )
        if isinstance(type_, StructType):
            return self._struct(type_)
        return self._parts(type_)

    def _enum(self, type_):
        members = [self._node(f'!DIEnumerator(name: "{m.name}", value: {int(m)})') for m in type_]
        return (
            f'!DICompositeType(tag: DW_TAG_enumeration_type, name: "{type_}", '
            f"baseType: {self.type(type_.base)}, size: {type_.bits}, "
            f"elements: {self._list(members)})"
        )

    def _struct(self, type_):
        tag = "DW_TAG_union_type" if type_.is_union else "DW_TAG_structure_type"
        members = [self._member(f.name, f.type, f.offset) for f in type_.fields.values()]
        return self._composite(tag, type_.name, type_.size, type_.align, members)

    def _member(self, name, type_, offset):
        return self._node(
            f'!DIDerivedType(tag: DW_TAG_member, name: "{name}", baseType: {self.type(type_)}, '
            f"size: {size_of(type_) * 8}, offset: {offset * 8})"
        )

    def _composite(self, tag, name, size, align, members):
        return (
            f'!DICompositeType(tag: {tag}, name: "{name}", size: {size * 8}, align: {align * 8}, '
            f"elements: {self._list(members)})"
        )

    def _parts(self, type_):
        """Slices and tuples, as structs."""
        if isinstance(type_, SliceType):
            element = self.type(type_.element)
            pointer = self._node(
                f"!DIDerivedType(tag: DW_TAG_pointer_type, baseType: {element}, size: 64)"
            )
            fields = [("ptr", pointer, 8), ("length", self.type(u64), 8)]
        else:
            assert isinstance(type_, TupleType)
            fields = [
                (f"_{i}", self.type(item), _item_size(item)) for i, item in enumerate(type_.items)
            ]
        members, offset = [], 0
        for name, reference, size in fields:
            offset = _aligned(offset, size)
            members.append(
                self._node(
                    f'!DIDerivedType(tag: DW_TAG_member, name: "{name}", baseType: {reference}, '
                    f"size: {size * 8}, offset: {offset * 8})"
                )
            )
            offset += size
        return self._composite("DW_TAG_structure_type", str(type_), offset, 8, members)

    def finish(self):
        """All metadata, as lines."""
        file = self.file_of_unit or self.file(f"{self.module}.py")
        shown = self._list(self.statics)
        self.nodes[0] = self.nodes[0].replace("{file}", file).replace("{globals}", shown)
        for scope, variables in self.variables.items():
            number = int(scope[1:])
            text = self.nodes[number].replace("{variables}", self._list(variables))
            self.nodes[number] = text
        flags = [
            self._node('!{i32 2, !"Debug Info Version", i32 3}'),
            self._node('!{i32 7, !"Dwarf Version", i32 4}'),
        ]
        lines = [f"!{number} = {text}" for number, text in enumerate(self.nodes)]
        return [
            *lines,
            f"!llvm.dbg.cu = !{{{self.producer}}}",
            f"!llvm.module.flags = !{{{', '.join(flags)}}}",
        ]


def _aligned(offset, size):
    """The offset of the next member, which is of this size."""
    step = size if size in (1, 2, 4, 8) else 8
    return (offset + step - 1) // step * step


def _item_size(type_):
    if isinstance(type_, TupleType):
        offset = 0
        for size in map(_item_size, type_.items):
            offset = _aligned(offset, size) + size
        return _aligned(offset, 8)
    return 16 if isinstance(type_, SliceType) else size_of(type_)
