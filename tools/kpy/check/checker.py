"""From the syntax tree of a function to its typed tree."""

import ast
import contextlib
import os

from kpy.check import assign as check_assign
from kpy.check import attempt, calls, operators, statements, typed, verify
from kpy.check import loops as check_loops
from kpy.check import match as check_match
from kpy.check import stmt as check_stmt
from kpy.check import with_block as check_with
from kpy.check.context import Context
from kpy.check.refusals import VALUES
from kpy.check.stmt import SUCCESS
from kpy.front.diagnostics import Reported
from kpy.front.types import NEVER, NONE

RULE_MODULES = (
    attempt,
    calls,
    operators,
    check_assign,
    check_loops,
    check_match,
    check_stmt,
    check_with,
)  # importing them registers their rules


def check(program, instance):
    """Fill in `instance.body`; errors go to the program's diagnostics."""
    if instance.state != "new":
        return
    if instance.function.traits.kind != "plain":
        instance.state = "checked"
        return
    instance.state = "failed"
    try:
        errors = len(program.diagnostics)
        body = _check_body(program, instance)
        if len(program.diagnostics) == errors:
            verify.definite_assignment(program, instance, body)
            instance.body, instance.state = body, "checked"
    except Reported:
        pass
    except Exception as error:  # noqa: BLE001  a bug of the compiler, to be reported as one
        internal_error(program, instance, error)


def internal_error(program, instance, error, node=None):
    """Report a bug of the compiler itself, at the construct that it was compiling."""
    if os.environ.get("KPY_TRACEBACK"):
        raise error
    if isinstance(error, RecursionError):
        with contextlib.suppress(Reported):
            program.error(
                instance.function.path,
                node or instance.function.tree,
                f"an expression of `{instance.function.name}` is nested too deeply",
                help="compute its parts into local variables",
            )
        return
    tree = node or instance.function.tree
    message = (
        f"the compiler itself failed on `{instance.function.name}`: {type(error).__name__}: {error}"
    )
    advice = "this is a bug of kpy: please report it (KPY_TRACEBACK=1 shows where)"
    with contextlib.suppress(Reported):
        program.error(instance.function.path, tree, message, help=advice)


def _check_body(program, instance):
    cx = Context(program, instance)
    tree = instance.function.tree
    params = []
    arguments = [*tree.args.posonlyargs, *tree.args.args]
    types = dict(instance.params)
    for argument in arguments:
        if argument.arg in instance.types:
            continue
        var = typed.Var(argument.arg, types[argument.arg], argument.lineno, is_param=True)
        cx.vars[argument.arg] = var
        params.append(var)
    checked, ended = statements.block(cx, tree.body)
    if not ended and instance.result is SUCCESS:
        checked.append(typed.Return(tree.body[-1], typed.Const(tree.body[-1], SUCCESS, 0)))
    elif not ended and instance.result is not NONE:
        _report_open_end(cx, tree, instance)
    return typed.Body(checked, params, cx.locals)


def _report_open_end(cx, tree, instance):
    if cx.has_errors:
        return  # an erroneous statement may have been the one that returns
    wanted = (
        "never return"
        if instance.result is NEVER
        else f"return a `{instance.result}` on every path"
    )
    stub = isinstance(tree.body[-1], ast.Expr) and isinstance(tree.body[-1].value, ast.Constant)
    cx.error(
        tree.returns,
        f"`{instance.function.name}` must {wanted}, but control can reach its end",
        help=VALUES[type(...)] if stub and tree.body[-1].value.value is ... else "",
    )


def check_all(program, roots, follow=lambda instance: instance.callees):
    """Check the roots and everything they call; `follow` says which callees count."""
    seen, pending = {}, list(reversed(roots))
    while pending:
        instance = pending.pop()
        if instance not in seen:
            seen[instance] = True
            check(program, instance)
            pending.extend(follow(instance))
    return list(seen)


def generic_callees(instance):
    """The callees that `kpy check` looks into: others count by their signature."""
    return [callee for callee in instance.callees if callee.bindings]
