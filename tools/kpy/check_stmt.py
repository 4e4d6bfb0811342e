"""Checking of statements. Each rule appends typed statements to `out` and returns whether control ends there."""

import ast

from kpy import typed
from kpy.check_expr import expression, indexable, place, value
from kpy.context import assigned_names
from kpy.convert import coerce, is_place, settle
from kpy.diagnostics import Reported
from kpy.narrow import condition
from kpy.operators import SYMBOLS, arithmetic
from kpy.structs import LayoutError, StructType
from kpy.types import (
    META,
    NEVER,
    NONE,
    NULL,
    UNTYPED,
    EnumType,
    PtrType,
    TupleType,
    intern,
    is_integer,
    is_pointer,
    non_null,
    u64,
)

RULES = {}


def rule(*kinds):
    def register(function):
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


def block(cx, statements):
    """Check statements in order; an error in one does not hide those in the next."""
    out, ended = [], False
    for statement in statements:
        try:
            check = RULES.get(type(statement))
            if check is None:
                kind = type(statement).__name__
                cx.error(statement, f"kernel Python has no such statement ({kind})")
            ended = check(cx, statement, out) or ended
        except LayoutError as error:
            cx.program.layout_error(error)
            _poison(cx, statement)
        except Reported:
            _poison(cx, statement)
    return out, ended


def _poison(cx, statement):
    """Mark what an erroneous statement would have assigned, so that its uses are not reported too."""
    simple = isinstance(statement, (ast.Assign, ast.AnnAssign, ast.For))
    for name in assigned_names([statement]) if simple else ():
        if name not in cx.vars:
            cx.declare(name, None, statement)


@rule(ast.Pass, ast.Global)
def _pass(cx, node, out):
    if isinstance(node, ast.Global):
        cx.global_names.update(node.names)
    return False


@rule(ast.Expr)
def _expression(cx, node, out):
    if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return False  # a docstring
    if isinstance(node.value, ast.Constant) and node.value.value is ...:
        return False
    if _is_require(cx, node.value):
        return _require(cx, node.value, out)
    expr = expression(cx, node.value)
    if not isinstance(expr, (typed.Call, typed.CallPointer, typed.Operation, typed.Deref)):
        cx.error(node, f"`{cx.text(node)}` is computed and thrown away")
    out.append(typed.Evaluate(node, expr))
    return expr.type is NEVER


def _is_require(cx, node):
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "require"):
        return False
    return "require" not in cx.vars


def _require(cx, node, out):
    if len(node.args) != 2 or node.keywords:
        cx.error(node, "`require` takes a condition and the result to return")
    test, yes, no = condition(cx, node.args[0])
    before = set(cx.narrowed)
    cx.narrowed = before | no
    result = _result(cx, node.args[1])
    cx.narrowed = before | yes
    if isinstance(test, typed.Const) and test.value:
        return False
    out.append(typed.If(node, test, [], [typed.Return(node, result)]))
    return False


def _result(cx, node):
    want = cx.instance.result
    if want is NONE:
        if not (isinstance(node, ast.Constant) and node.value is None):
            cx.error(node, f"`{cx.function.name}` returns no value")
        return None
    return value(cx, node, want, "the result type")


@rule(ast.Return)
def _return(cx, node, out):
    want = cx.instance.result
    if want is NEVER:
        cx.error(node, f"`{cx.function.name}` is declared never to return")
    if node.value is None and want is not NONE:
        cx.error(node, f"`{cx.function.name}` must return a `{want}`")
    out.append(typed.Return(node, _result(cx, node.value) if node.value is not None else None))
    return True


@rule(ast.Assign)
def _assign(cx, node, out):
    if len(node.targets) != 1:
        cx.error(node, "one target for each assignment")
    (target,) = node.targets
    if isinstance(target, ast.Tuple):
        return _unpack(cx, node, target, out)
    _assign_to(cx, target, node.value, out)
    return False


@rule(ast.AnnAssign)
def _annotated(cx, node, out):
    if not isinstance(node.target, ast.Name):
        cx.error(node.target, "only a local variable can be annotated")
    type_ = cx.type_at(node.annotation)
    name = node.target.id
    if name in cx.vars and cx.vars[name].type not in (type_, None):
        _retyped(cx, node.target, cx.vars[name], type_)
    if node.value is None:
        if name not in cx.vars:
            cx.declare(name, type_, node.target)
        return False
    expr = expression(cx, node.value, type_)
    var = cx.vars.get(name) or cx.declare(name, type_, node.target)
    var.type = type_
    _store(cx, node, typed.Local(node.target, type_, var), expr, out)
    return False


def _retyped(cx, node, var, type_):
    cx.error(node, f"`{var.name}` is a `{var.type}`, since line {var.line}, and cannot become a `{type_}`")


def _assign_to(cx, target, source, out):
    """One target, and the syntax node of its value."""
    if isinstance(target, ast.Name) and target.id not in cx.global_names:
        var = cx.vars.get(target.id)
        expr = expression(cx, source, var.type if var is not None else None)
        if var is not None and var.type is None:
            raise Reported
        if var is None:
            expr = _first_value(cx, source, expr)
            var = cx.declare(target.id, expr.type, target)
        _store(cx, target, typed.Local(target, var.type, var), expr, out)
        return
    found = place(cx, target)
    _store(cx, target, found, expression(cx, source, found.type), out)


def _first_value(cx, node, expr):
    expr = settle(cx, expr)
    if expr.type is NULL:
        cx.error(node, "the type of `None` is not known here", help="annotate the variable, `p: Ptr[T] | None = None`")
    if expr.type in (NONE, NEVER):
        cx.error(node, f"`{cx.text(node)}` gives no value")
    return expr


def _store(cx, node, target, expr, out):
    """Assign a checked value to a checked place, and remember whether it may be null."""
    if isinstance(target, typed.Local):
        type_ = target.var.type
        target.type = type_
        because = f"the type of `{target.var.name}`, from line {target.var.line}" if target.var.name else ""
        checked = coerce(cx, expr, type_, because)
        if is_pointer(type_) and type_.nullable:
            known = expr.type is non_null(type_) or expr.type is META
            (cx.narrowed.add if known else cx.narrowed.discard)(target.var)
        out.append(typed.Assign(node, target, checked))
        return
    out.append(typed.Assign(node, target, coerce(cx, expr, target.type)))


def _unpack(cx, node, target, out):
    """`a, b = …`: the right side is complete before the first target is assigned."""
    hints = [cx.vars[item.id].type if isinstance(item, ast.Name) and item.id in cx.vars else None for item in target.elts]
    want = intern(TupleType, tuple(hints)) if all(hints) else None
    if isinstance(node.value, ast.Tuple) and want is None:
        hints = None
    expr = value(cx, node.value) if want is None else expression(cx, node.value, want)
    if not isinstance(expr.type, TupleType) or len(expr.type.items) != len(target.elts):
        cx.error(node.value, f"expected a tuple of {len(target.elts)}, found `{expr.type}`")
    var = cx.temporary(expr.type, node)
    whole = typed.Local(node, expr.type, var)
    out.append(typed.Assign(node, whole, expr))
    for i, item in enumerate(target.elts):
        part = typed.ItemOf(item, expr.type.items[i], whole, i)
        if isinstance(item, ast.Name) and item.id == "_":
            continue
        if isinstance(item, ast.Name) and item.id not in cx.global_names:
            local = cx.vars.get(item.id) or cx.declare(item.id, part.type, item)
            _store(cx, item, typed.Local(item, local.type, local), part, out)
        else:
            _store(cx, item, place(cx, item), part, out)
    return False


@rule(ast.AugAssign)
def _augmented(cx, node, out):
    target = place(cx, _as_load(node.target))
    op = SYMBOLS[type(node.op)]
    right = expression(cx, node.value, target.type if op not in ("<<", ">>") else None)
    result = arithmetic(cx, node, op, target, right)
    coerce(cx, result, target.type)
    out.append(typed.Augment(node, target, op, result.right))
    return False


def _as_load(node):
    return ast.copy_location(ast.Name(node.id, ast.Load()), node) if isinstance(node, ast.Name) else node


@rule(ast.If)
def _if(cx, node, out):
    test, yes, no = condition(cx, node.test)
    if isinstance(test, typed.Const):
        chosen, ended = block(cx, node.body if test.value else node.orelse)
        out.extend(chosen)
        return ended
    before = set(cx.narrowed)
    cx.narrowed = before | yes
    then, then_ends = block(cx, node.body)
    after_then, cx.narrowed = cx.narrowed, before | no
    other, other_ends = block(cx, node.orelse)
    if other_ends:
        cx.narrowed = after_then
    elif not then_ends:
        cx.narrowed &= after_then
    out.append(typed.If(node, test, then, other))
    return then_ends and other_ends


def _loop_body(cx, node, extra=frozenset()):
    """Check the body of a loop: what it assigns is not known at its start, nor after it."""
    assigned = {cx.vars[name] for name in assigned_names(node.body) if name in cx.vars}
    cx.narrowed -= assigned
    before = set(cx.narrowed)
    cx.narrowed |= extra
    cx.loops += 1
    body, _ = block(cx, node.body)
    cx.loops -= 1
    cx.narrowed = before - assigned
    return body


def _no_else(cx, node):
    if node.orelse:
        cx.error(node.orelse[0], "kernel Python has no `else` of a loop")


@rule(ast.While)
def _while(cx, node, out):
    _no_else(cx, node)
    assigned = {cx.vars[name] for name in assigned_names(node.body) if name in cx.vars}
    cx.narrowed -= assigned
    test, yes, no = condition(cx, node.test)
    if isinstance(test, typed.Const) and not test.value:
        return False
    body = _loop_body(cx, node, yes)
    leaves = has_break(node.body)
    if not leaves:
        cx.narrowed |= no
    out.append(typed.While(node, test, body))
    return isinstance(test, typed.Const) and not leaves


def has_break(statements):
    """Whether a `break` leaves the loop whose body this is."""
    for statement in statements:
        if isinstance(statement, ast.Break):
            return True
        if isinstance(statement, (ast.For, ast.While)):
            continue
        inner = [getattr(statement, name, []) for name in ("body", "orelse")]
        inner += [case.body for case in getattr(statement, "cases", [])]
        if any(has_break(part) for part in inner):
            return True
    return False


@rule(ast.For)
def _for(cx, node, out):
    _no_else(cx, node)
    iterator, backwards = node.iter, False
    if _calls(cx, iterator, reversed) and len(iterator.args) == 1:
        iterator, backwards = iterator.args[0], True
    if _calls(cx, iterator, range):
        out.append(_for_range(cx, node, iterator, backwards))
        return False
    if backwards:
        cx.error(node.iter, "`reversed` takes a `range`")
    counter, target = None, node.target
    if _calls(cx, iterator, enumerate) and len(iterator.args) == 1:
        if not isinstance(target, ast.Tuple) or len(target.elts) != 2:
            cx.error(target, "`enumerate` gives an index and an element")
        iterator, (index, target) = iterator.args[0], target.elts
        counter = _loop_variable(cx, index, u64)
    base, element, _ = indexable(cx, settle(cx, expression(cx, iterator)))
    by_pointer = isinstance(element, StructType)
    if by_pointer and not is_place(base) and not _is_slice(base):
        cx.error(iterator, "only an array in memory can be iterated by pointer")
    var = _loop_variable(cx, target, intern(PtrType, element, False) if by_pointer else element)
    out.append(typed.ForEach(node, var, base, by_pointer, counter, _loop_body(cx, node)))
    return False


def _is_slice(expr):
    return not hasattr(expr.type, "count")


def _calls(cx, node, function):
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function.__name__):
        return False
    return node.func.id not in cx.vars and cx.lookup(node, node.func.id) is function


def _loop_variable(cx, target, type_):
    """The variable of a `for`; each loop may give the name a type of its own."""
    if not isinstance(target, ast.Name):
        cx.error(target, "a `for` has one plain variable")
    var = cx.vars.get(target.id)
    if var is None or var.type is not type_:
        var = cx.declare(target.id, type_, target)
    return var


def _for_range(cx, node, call, backwards):
    if not 1 <= len(call.args) <= 3 or call.keywords:
        cx.error(call, "`range` takes 1 to 3 arguments")
    bounds = [expression(cx, argument) for argument in call.args]
    step = bounds.pop() if len(bounds) == 3 else typed.Const(call, UNTYPED, 1)
    start, stop = bounds if len(bounds) == 2 else (typed.Const(call, UNTYPED, 0), bounds[0])
    type_ = next((b.type for b in (start, stop) if b.type is not UNTYPED), None)
    if type_ is None:
        type_ = settle(cx, start if start.value < 0 else stop).type
    start, stop = coerce(cx, start, type_), coerce(cx, stop, type_)
    if not is_integer(type_):
        cx.error(call, f"`range` takes integers, not `{type_}`")
    known = step.value if isinstance(step, typed.Const) else None
    if known == 0 or (known is None and type_.signed):
        cx.error(step.at, "the step of a `range` must not be 0, and known at build time if signed")
    if known is not None and known < 0 and not type_.signed:
        cx.error(call, f"counting down in the unsigned `{type_}`", help="`for i in reversed(range(low, high)):`")
    if backwards and known != 1:
        cx.error(call, "`reversed` takes a `range` with step 1")
    step = coerce(cx, step, type_)
    var = _loop_variable(cx, node.target, type_)
    return typed.ForRange(node, var, start, stop, step, backwards, _loop_body(cx, node))


@rule(ast.Break, ast.Continue)
def _leave(cx, node, out):
    if not cx.loops:
        cx.error(node, "outside a loop")
    out.append((typed.Break if isinstance(node, ast.Break) else typed.Continue)(node))
    return True


@rule(ast.Assert)
def _assert(cx, node, out):
    text = f"assertion failed: {cx.text(node.test)}"
    if node.msg is not None:
        text = cx.build_value(node.msg)
    test, yes, _ = condition(cx, node.test)
    cx.narrowed |= yes
    if isinstance(test, typed.Const):
        if not test.value and not (isinstance(node.test, ast.Constant)):
            cx.error(node, f"this assertion never holds: {text}")
        if test.value:
            return False
    out.append(typed.Check(node, test, text))
    return isinstance(test, typed.Const)


@rule(ast.With)
def _with(cx, node, out):
    locks = [_lock(cx, item) for item in node.items]
    body, ended = block(cx, node.body)
    out.append(typed.With(node, locks, body))
    return ended


def _lock(cx, item):
    from kpy.calls import call_function

    node = item.context_expr
    expr = settle(cx, expression(cx, node))
    if isinstance(expr.type, StructType):
        expr = typed.AddressOf(node, intern(PtrType, expr.type, False), expr)
    struct = expr.type.target if isinstance(expr.type, PtrType) and not expr.type.nullable else None
    methods = [struct.method(name) for name in ("__enter__", "__exit__")] if isinstance(struct, StructType) else [None]
    if not all(methods):
        cx.error(node, f"`{expr.type}` has no `__enter__` and `__exit__`")
    var = cx.temporary(expr.type, node)
    call = ast.copy_location(ast.Call(node, [], []), node)
    enter, leave = (call_function(cx, call, m, [], typed.Local(node, expr.type, var)) for m in methods)
    bound = None
    if item.optional_vars is not None:
        bound = _loop_variable(cx, item.optional_vars, enter.type)
    return var, expr, enter, leave, bound


@rule(ast.Match)
def _match(cx, node, out):
    subject = value(cx, node.subject)
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
        cx.narrowed = set(before)
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
            cx.error(node.subject, f"this match does not handle {names}", help="add the cases, or `case _:`")
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
        return [v for part in pattern.patterns for v in _pattern(cx, part, type_, seen)]
    if isinstance(pattern, ast.MatchAs) and pattern.pattern is None:
        if pattern.name is None:
            return None
        cx.error(
            pattern,
            f"`case {pattern.name}` would capture any value",
            help=f"name a constant with a dot, `case module.{pattern.name}:`",
        )
    if not isinstance(pattern, ast.MatchValue):
        cx.error(pattern, "a case is a constant, constants joined by `|`, or `_`")
    expr = coerce(cx, expression(cx, pattern.value), type_)
    if not isinstance(expr, typed.Const):
        cx.error(pattern, "a case must be known at build time")
    if expr.value in seen:
        cx.error(pattern, f"this value is handled already, on line {seen[expr.value]}")
    seen[expr.value] = pattern.lineno
    return [expr.value]


@rule(ast.Import, ast.ImportFrom)
def _import(cx, node, out):
    return cx.error(node, "import at module level")


@rule(ast.FunctionDef, ast.ClassDef)
def _definition(cx, node, out):
    return cx.error(node, "functions and classes are defined at module level")


@rule(ast.Try, ast.Raise)
def _exceptions(cx, node, out):
    return cx.error(node, "kernel Python has no exceptions", help="return an error code, or a tuple")
