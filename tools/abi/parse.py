"""Headers to model: pycparser's tree of the preprocessed text, and the values of the macros.

An anonymous struct or union gets the name of the record around it and of its field,
`mmuext_op_arg1`.
"""

import operator
import re
from pathlib import Path

from pycparser import c_ast, c_parser

from tools.abi.model import Abi, Array, Constant, Pointer, Record, Scalar
from tools.abi.preprocess import HeaderError, Macro, Preprocessor

STDINT = {
    "uint8_t": "unsigned char",
    "uint16_t": "unsigned short",
    "uint32_t": "unsigned int",
    "uint64_t": "unsigned long",
    "int8_t": "signed char",
    "int16_t": "short",
    "int32_t": "int",
    "int64_t": "long",
}
PRELUDE = "".join(f"typedef {c_type} {name};\n" for name, c_type in STDINT.items())
SCALARS = {
    "char": Scalar(8, False, char=True),
    "signed char": Scalar(8, True),
    "unsigned char": Scalar(8, False),
    "short": Scalar(16, True),
    "unsigned short": Scalar(16, False),
    "int": Scalar(32, True),
    "unsigned int": Scalar(32, False),
    "long": Scalar(64, True),
    "unsigned long": Scalar(64, False),
}
PLAIN_TYPEDEFS = re.compile(r"u?int\d+(_aligned)?_t")
PACKED = re.compile(r"struct\s+(\w+)\s*\{[^}]*\}\s*__attribute__\(\(packed\)\)")
ATTRIBUTE = re.compile(r"__attribute__\(\(.*?\)\)")


def headers(root: Path) -> list[Path]:
    return sorted(root.rglob("*.h"))


def parse_headers(root: Path) -> Abi:
    """Read every header below `root`."""
    preprocessor = Preprocessor(root)
    for path in headers(root):
        if path.resolve() not in preprocessor.inputs:
            preprocessor.include(path)
    text = PRELUDE + "\n".join(preprocessor.lines) + "\n"
    unmarked = re.sub(r"^# .*$", "", text, flags=re.MULTILINE)
    builder = Builder(packed=set(PACKED.findall(unmarked)))
    tree = c_parser.CParser().parse(ATTRIBUTE.sub("", text), "kernel/abi")
    for node in tree.ext:
        builder.declare(node)
    for macro in preprocessor.macros.values():
        builder.add_macro(macro, preprocessor)
    return builder.abi


class Builder:
    """Walks declarations in order and keeps the tags and typedefs seen so far."""

    def __init__(self, packed: set[str]):
        self.abi = Abi()
        self.tags: dict[str, Record] = {}
        self.names: dict[str, object] = {}
        self.packed = packed
        self.parser = c_parser.CParser()

    def declare(self, node) -> None:
        where = str(node.coord.file)
        if isinstance(node, c_ast.Typedef):
            type_ = self.type_of(node.type, node.name, where)
            if isinstance(type_, Scalar) and not PLAIN_TYPEDEFS.fullmatch(node.name):
                type_ = Scalar(type_.bits, type_.signed, node.name, type_.char)
            self.names[node.name] = type_
            if not isinstance(type_, Record) and not PLAIN_TYPEDEFS.fullmatch(node.name):
                self.abi.typedefs.append((node.name, type_, where))
        elif isinstance(node, c_ast.Decl):
            self.type_of(node.type, "", where)

    def type_of(self, node, context: str, where: str):
        """The model's type for a declarator; `context` names an anonymous record."""
        if isinstance(node, c_ast.TypeDecl):
            return self.type_of(node.type, context, where)
        if isinstance(node, c_ast.IdentifierType):
            name = " ".join(node.names)
            return None if name == "void" else self.names.get(name) or SCALARS[name]
        if isinstance(node, c_ast.PtrDecl):
            return Pointer(self.type_of(node.type, context, where))
        if isinstance(node, c_ast.ArrayDecl):
            count = self.value(node.dim) if node.dim else 0
            return Array(self.type_of(node.type, context, where), count)
        if isinstance(node, (c_ast.Struct, c_ast.Union)):
            return self.record(node, context, where)
        if isinstance(node, c_ast.Enum):
            return self.enum(node, where)
        raise HeaderError(f"{where}: {type(node).__name__} is not supported")

    def record(self, node, context: str, where: str) -> Record:
        if node.decls is None:
            return self.tags[node.name]
        name = node.name or context
        record = Record(name, isinstance(node, c_ast.Union), where, packed=node.name in self.packed)
        if node.name:
            record.c_name = f"{'union' if record.is_union else 'struct'} {node.name}"
            self.tags[node.name] = record
        members = [(d.name, self.type_of(d.type, f"{name}_{d.name}", where)) for d in node.decls]
        record.lay_out(members)
        self.abi.records.append(record)
        return record

    def enum(self, node, where: str) -> Scalar:
        following = 0
        for item in node.values.enumerators if node.values else ():
            value = self.value(item.value) if item.value else following
            self.abi.constants.append(Constant(item.name, value, where))
            following = value + 1
        return SCALARS["unsigned int"]

    def add_macro(self, macro: Macro, preprocessor: Preprocessor) -> None:
        """Keep a macro that is an integer or a string; others are for C only."""
        if macro.params is not None or not macro.body:
            return
        body = preprocessor.expand(macro.body)
        if body.startswith('"'):
            if re.fullmatch(r'"[^"\\]*"', body):
                self.abi.constants.append(Constant(macro.name, body[1:-1], macro.where))
            return
        tree = self.parser.parse(f"{PRELUDE} unsigned long x = {body};")
        self.abi.constants.append(Constant(macro.name, self.value(tree.ext[-1].init), macro.where))

    def value(self, node) -> int:
        """Evaluate a constant expression with C's 32 and 64-bit unsigned wrap-around."""
        return evaluate(node)[0]


def evaluate(node) -> tuple[int, int]:
    """Value, and width in bits when unsigned (0: signed, taken as it is)."""
    if isinstance(node, c_ast.Constant):
        digits, suffix = re.fullmatch(r"(0[xX][0-9a-fA-F]+|\d+)([uUlL]*)", node.value).groups()
        width = 64 if "l" in suffix.lower() else 32
        return int(digits, 0), width if "u" in suffix.lower() else 0
    if isinstance(node, c_ast.Cast):
        value, _ = evaluate(node.expr)
        width = {"uint32_t": 32, "uint64_t": 64, "unsigned": 64}[node.to_type.type.type.names[0]]
        return value & ((1 << width) - 1), width
    if isinstance(node, c_ast.UnaryOp):
        value, width = evaluate(node.expr)
        value = {"-": -value, "~": ~value, "+": value}[node.op]
        return (value & ((1 << width) - 1) if width else value), width
    if isinstance(node, c_ast.BinaryOp):
        (a, wa), (b, wb) = evaluate(node.left), evaluate(node.right)
        width = wa if node.op in ("<<", ">>") else max(wa, wb)
        value = BINARY[node.op](a, b)
        return (value & ((1 << width) - 1) if width else value), width
    raise HeaderError(f"not a constant: {type(node).__name__}")


BINARY = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "|": operator.or_,
    "&": operator.and_,
}
