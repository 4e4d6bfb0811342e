"""Checking of the methods of `Guest[T]`: addresses are computed, nothing is read."""

from kpy.check import typed
from kpy.check.builtin_calls import length
from kpy.check.convert import to_integer
from kpy.check.expr import expression
from kpy.check.taint import bare, is_tainted, taint
from kpy.front.structs import size_of
from kpy.front.types import GuestType, intern, u64

GUEST_METHODS = {}


def guest_method(name, count):
    """Register a method of `Guest[T]`."""

    def register(function):
        def check(cx, node, guest):
            if len(node.args) != count:
                cx.error(node, f"`{node.func.attr}` takes {count} arguments")
            return function(cx, node, guest, *node.args)

        GUEST_METHODS[name] = check
        return function

    return register


@guest_method("index", 1)
def _index(cx, node, guest, number):
    size = typed.Const(node, u64, size_of(guest.type.target))
    expr = expression(cx, number, u64)
    index = bare(to_integer(cx, expr, u64)) if is_tainted(expr) else length(cx, number)
    offset = typed.Binary(node, u64, "*", index, size, "wrapping")
    base = typed.Convert(node, u64, guest, "same")
    return typed.Convert(
        node, guest.type, typed.Binary(node, u64, "+", base, offset, "wrapping"), "same"
    )


@guest_method("address", 0)
def _address(cx, node, guest):
    return taint(typed.Convert(node, u64, guest, "same"))


@guest_method("cast", 1)
def _cast(cx, node, guest, target):
    return typed.Convert(node, intern(GuestType, cx.type_at(target)), guest, "same")
