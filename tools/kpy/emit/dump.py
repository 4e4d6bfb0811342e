"""Printing a function after any stage of the compiler."""

import ast
import dataclasses

from kpy.check import checker, typed
from kpy.emit import backend
from kpy.front import modules
from kpy.front.types import Type
from kpy.lower.unit import Unit


def dump_module(program, module, stage, wanted=None):
    """Print the functions of a module (or one of them) after a stage."""
    instances = modules.declared_instances(program, module)
    if wanted:
        instances = [i for i in instances if i.function.name == wanted]
    checker.check_all(program, instances)
    if len(program.diagnostics):
        return
    if stage in ("llvm", "asm"):
        unit = Unit(program, module.__name__)
        for instance in instances:
            unit.function(instance)
        text = unit.finish()
        print(text if stage == "llvm" else backend.compile_assembly(text, unit.triple))
        return
    show = show_ast if stage == "ast" else show_typed
    print("\n\n".join(show(instance) for instance in instances))


def show_typed(instance):
    """The typed tree of a function, indented."""
    params = ", ".join(f"{name}: {type_}" for name, type_ in instance.params)
    lines = [f"{instance.symbol}({params}) -> {instance.result}"]
    for item in instance.body.statements if instance.body else []:
        lines += _show(item, 1)
    return "\n".join(lines)


def _show(node, depth):
    """One node: its name, type and simple fields on a line, its children below."""
    simple, children = [], []
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if field.name in ("at", "type"):
            continue
        if isinstance(value, typed.Node) or (isinstance(value, (list, tuple, dict)) and value):
            children.append((field.name, value))
        elif isinstance(value, typed.Var):
            simple.append(value.name or "(temporary)")
        elif isinstance(node, typed.Const) and field.name == "value":
            simple.append(str(value))
        elif value is not False and value not in (None, [], ()):
            simple.append(f"{field.name}={value}" if value is True else _word(value))
    type_ = getattr(node, "type", None)
    typing = f": {type_}" if isinstance(type_, Type) else ""
    words = " ".join([type(node).__name__, *simple])
    lines = [f"{'  ' * depth}{words}{typing}  # line {node.at.lineno}"]
    for name, value in children:
        lines += _show_child(name, value, depth + 1)
    return lines


def _word(value):
    return str(getattr(value, "symbol", None) or getattr(value, "name", None) or value)


def _show_child(name, value, depth):
    if isinstance(value, typed.Node):
        return _show(value, depth)
    lines = [f"{'  ' * depth}.{name}"]
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, typed.Node):
            lines += _show(item, depth + 1)
        elif isinstance(item, (tuple, list)):
            lines += _show_child("case", item, depth + 1)
        elif item is not None:
            lines.append(f"{'  ' * (depth + 1)}{_word(item)}")
    return lines


def show_ast(instance):
    return ast.dump(instance.function.tree, indent=2)
