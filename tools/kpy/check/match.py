"""Checking of `match`."""

import ast

from kpy.check import typed
from kpy.check.convert import coerce
from kpy.check.expr import expression, value
from kpy.check.paths import key_of
from kpy.check.statements import block, rule
from kpy.check.taint import bare, is_tainted
from kpy.front.modules import captures
from kpy.front.types import EnumType, is_integer


@rule(ast.Match)
def _match(cx, node, out):
    given = value(cx, node.subject)
    subject = bare(given)
    shown = {key_of(cx, given)} - {None} if is_tainted(given) else set()
    if not is_integer(subject.type) and not isinstance(subject.type, EnumType):
        cx.error(node.subject, f"`match` takes an enum or an integer, not `{subject.type}`")
    cases, default, seen, all_end = [], None, {}, True
    before, outcomes = set(cx.narrowed), []
    for case in node.cases:
        if case.guard is not None:
            cx.error(case.guard, "a `case` has no guard here", help="put an `if` into its body")
        if default is not None:
            cx.error(case.pattern, "this case is never reached, `case _` came before")
        values = _pattern(cx, case.pattern, subject.type, seen)
        cx.narrowed = before | (shown if values is not None else set())
        body, ended = block(cx, case.body)
        if not ended:
            outcomes.append(cx.narrowed)
        all_end = all_end and ended
        if values is None:
            default = body
        else:
            cases.append((values, body))
    complete = default is not None
    if isinstance(subject.type, EnumType) and default is None:
        missing = [str(m.name) for m in subject.type if int(m) not in seen]
        if missing:
            names = ", ".join(f"`{subject.type}.{name}`" for name in missing)
            cx.error(
                node.subject,
                f"this match does not handle {names}",
                help="add the cases, or `case _:`",
            )
        complete = True
    elif default is None:
        default = []
        outcomes.append(before)
    cx.narrowed = set.intersection(*outcomes) if outcomes else before
    out.append(typed.Switch(node, subject, cases, default))
    return complete and all_end


def _pattern(cx, pattern, type_, seen):
    """The values of a case, or None for `case _`."""
    if isinstance(pattern, ast.MatchOr):
        for part in pattern.patterns:
            if isinstance(part, ast.MatchAs) and part.name is None:
                cx.error(part, "`_` stands alone in its case")
        return [v for part in pattern.patterns for v in _pattern(cx, part, type_, seen)]
    if isinstance(pattern, ast.MatchAs) and pattern.pattern is None:
        if pattern.name is None:
            return None
        cx.error(
            pattern,
            f"`case {pattern.name}` would capture any value",
            help=captures(pattern.name),
        )
    if not isinstance(pattern, ast.MatchValue):
        advice = "compare a pointer by `if p is None:`"
        cx.error(
            pattern,
            "a case is a constant, constants joined by `|`, or `_`",
            help=advice if isinstance(pattern, ast.MatchSingleton) else "",
        )
    expr = coerce(cx, expression(cx, pattern.value), type_)
    if not isinstance(expr, typed.Const):
        cx.error(pattern, "a case must be known at build time")
    if expr.value in seen:
        cx.error(pattern, f"this value is handled already, on line {seen[expr.value]}")
    seen[expr.value] = pattern.lineno
    return [expr.value]
