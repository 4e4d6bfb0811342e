"""`Result[T]` and `ok`: a value or an error code, and the early return of the latter."""

import pytest

FORMS = {
    "None": (None, 0),
    "u8": ("truncate(u8, n)", 255),
    "u32": ("truncate(u32, n)", 2**32 - 1),
    "bool": ("n > 3", True),
    "Kind": ("Kind.WIDE", 2),
    "u64": ("n", 2**64 - 1),
    "Frame": ("Frame(n)", 2**64 - 1),
    "tuple[u32, u64]": ("(truncate(u32, n), n)", (2**32 - 1, 2**64 - 1)),
    "Slice[u8]": ("b'ab'", b"ab"),
    "Guest[u64]": ("Guest[u64](n)", 2**64 - 1),
}


@pytest.mark.parametrize("type_", FORMS)
def test_values_and_errors_of_every_form(jit, type_):
    made, expected = FORMS[type_]
    p = jit(f"""
        Frame = newtype("Frame", u64)
        @enum(u8)
        class Kind:
            NARROW = 1
            WIDE = 2
        def make(n: u64) -> Result[{type_}]:
            require(n != 0, -22)
            if n == 1:
                return -4095
            return {made}
        def passed_on(n: u64) -> Result[{type_}]:
            return make(n)
        def taken(n: u64) -> Result[{type_}]:
            {"x = " if made else ""}ok(make(n))
            return {"x" if made else ""}
        def error(n: u64) -> i64:
            return make(n).error
        def code(n: u64) -> i64:
            ok(make(n))
            return 7
    """)
    for f in (p.make, p.passed_on, p.taken):
        assert f(0) == -22
        assert f(1) == -4095
        found = f(2**64 - 1)
        assert (bytes(found) if type_ == "Slice[u8]" else found) == expected
    assert [p.error(n) for n in (0, 1, 9)] == [-22, -4095, 0]
    assert [p.code(n) for n in (0, 1, 9)] == [-22, -4095, 7]


POINTERS = """
    @struct
    class Thing:
        number: u64
        other: Ptr["Thing"] | None
    things = static(Array[Thing, 3])
    def find(n: u64) -> Result[Ptr[Thing]]:
        if n >= 3:
            return -2
        things[n].number = n
        return ref(things[n])
    def other(n: u64) -> Result[Ptr[Thing] | None]:
        thing = ok(find(n))
        return thing.other
"""


def test_pointers_take_one_register(jit):
    p = jit(
        POINTERS
        + """
    def number(n: u64) -> Result[u64]:
        return ok(find(n)).number
    def sum(a: u64, b: u64) -> Result[u64]:
        return ok(find(a)).number + ok(find(b)).number
    def link(a: u64, b: u64) -> i64:
        ok(find(a)).other = ok(find(b))
        return 0
    """
    )
    assert [p.number(n) for n in (1, 2, 3)] == [1, 2, -2]
    assert p.sum(1, 2) == 3
    assert p.sum(1, 7) == -2
    assert p.other(0) is None
    assert p.link(0, 9) == -2 and p.other(0) is None
    assert p.link(0, 2) == 0 and p.other(0).number == 2
    assert p.other(5) == -2


def test_structs(jit):
    p = jit("""
        @struct
        class Range:
            start: u64
            length: u32
        def make(n: u64) -> Result[Range]:
            require(n < 10, -7)
            return Range(start=n, length=3)
        def end(n: u64) -> Result[u64]:
            r = ok(make(n))
            return r.start + u64(r.length)
    """)
    assert p.end(4) == 7
    assert p.end(10) == -7


def test_error_codes_of_functions_that_return_an_i64(jit):
    p = jit("""
        def check(n: u64) -> i64:
            require(n < 10, -22)
            return i64(n)
        def twice(n: u64) -> i64:
            return 2 * ok(check(n))
        def only(n: u64) -> Result[None]:
            ok(check(n))
        def both(n: u64, m: u64) -> Result[bool]:
            return ok(check(n)) > 3 and ok(check(m)) > 3
        def loop(n: u64) -> Result[None]:
            for i in range(n):
                if i == 20:
                    return
                ok(only(i) if n != 30 else -5)
        def choose(n: u64) -> Result[u32]:
            return u32(5) if n == 0 else -6
        def code(n: i64) -> Result[u32]:
            return n
    """)
    assert [p.twice(n) for n in (9, 10)] == [18, -22]
    assert [p.only(n) for n in (9, 10)] == [0, -22]
    assert [p.both(*n) for n in ((9, 10), (1, 10), (9, 9), (10, 1))] == [-22, False, True, -22]
    assert [p.loop(n) for n in (10, 11, 30)] == [0, -22, -5]
    assert [p.choose(n) for n in (0, 1)] == [5, -6]
    assert p.code(-3) == -3


def test_what_is_no_error_code_panics(jit, panics):
    p = jit("""
        def code(n: i64) -> Result[u32]:
            return n
        def value(n: u64) -> u64:
            return make(n).value
        def make(n: u64) -> Result[u64]:
            return n if n > 5 else -1
    """)
    for n in (0, 1, -4096):
        panics("the error of a `Result` is no error code", p.code, n)
    assert p.value(6) == 6
    panics("a `Result` that failed has no value", p.value, 5)


def test_ok_leaves_every_with(jit):
    p = jit("""
        given = static(Array[u64, 3])
        @struct
        class Lock:
            held: u64
            def __enter__(self) -> None:
                self.held += 1
            def __exit__(self) -> None:
                self.held -= 1
        lock = static(Lock)
        def put(p: Ptr[u64]) -> None:
            store(p, load(p) - 1)
        @gives_back(put)
        def get(n: u64) -> Result[Ptr[u64]]:
            require(n < 3, -3)
            given[n] += 1
            return ref(given[n])
        def use(n: u64, m: u64) -> Result[u64]:
            with ok(get(n)) as p, lock:
                with ok(get(m)) as q:
                    return load(p) + load(q) + lock.held
    """)
    for n, m, expected in ((0, 1, 3), (2, 2, 5), (0, 9, -3), (9, 0, -3)):
        assert p.use(n, m) == expected
        assert list(p.given) == [0, 0, 0] and p.lock.held == 0


def test_python_stands_in_for_a_function_with_a_result(jit):
    p = jit(
        """
        def read(n: u64) -> Result[u64]:
            return n
        def check(n: u64) -> Result[None]:
            return None
        def use(n: u64) -> Result[u64]:
            ok(check(n))
            return ok(read(n)) + 1
    """,
        replace={
            "snippet_of_results.read": lambda n: n * 2 if n < 9 else -9,
            "snippet_of_results.check": lambda n: None if n else -1,
        },
        name="snippet_of_results",
    )
    assert [p.use(n) for n in (0, 1, 9)] == [-1, 3, -9]


def test_an_ok_is_a_check_of_the_mutants(jit):
    p = jit(
        """
        def check(n: u64) -> i64:
            require(n != 3, -22)
            return 0
        def use(n: u64) -> i64:
            ok(check(n))
            return 5
    """,
        mutants=("snippet_of_checks",),
        name="snippet_of_checks",
    )
    assert [c.text for c in p.checks] == ["ok(check(n))", "require(n != 3, -22)"]
    assert p.use(3) == -22
    assert [c.text for c in p.refused()] == ["ok(check(n))", "require(n != 3, -22)"]
    p.switch_off(p.checks[0])
    assert p.use(3) == 5


WRONG = {
    "unused": ("find(1)\nreturn 0", "nobody looks at this `Result[Ptr[Thing]]`", "`ok(find(1))`"),
    "unused None": ("check()\nreturn 0", "nobody looks at this `Result[None]`", "`ok(check())`"),
    "used as the value": (
        "t: Ptr[Thing] = find(1)\nreturn 0",
        "found `Result[Ptr[Thing]]`",
        "`ok(find(1))` is the value, or returns the error from this function",
    ),
    "returned as a code": (
        "return find(1)",
        "expected `i64` (the result type), found `Result[Ptr[Thing]]`",
        "`.error` is it",
    ),
    "ok of a pointer": (
        "t = ok(maybe())\nreturn 0",
        "`ok` takes a `Result`, or an `i64` error code, not a `Ptr[Thing] | None`",
        "`require(maybe() is not None, …)` names the error",
    ),
    "ok of a bool": (
        "ok(n == 3)\nreturn 0",
        "`ok` takes a `Result`, or an `i64` error code, not a `bool`",
        "`require(n == 3, …)` names the error",
    ),
    "a value where there is none": (
        "t = ok(check())\nreturn 0",
        "`ok(check())` gives no value",
        "",
    ),
    "a held Result": (
        "with get(n) as t:\n    pass\nreturn 0",
        "this `Result[Ptr[Thing]]` may be an error",
        "`with ok(get(n)) as …:`",
    ),
    "a reference thrown away": (
        "ok(get(n))\nreturn 0",
        "nobody gives this `Ptr[Thing]` back",
        "`with ok(get(n)) as …:` calls `put`",
    ),
    "of Result[None] no value": (
        "return i64(check().value)",
        "`Result[None]` has no attribute `value`",
        "",
    ),
}

HOUSE = (
    POINTERS
    + """
    def check() -> Result[None]:
        return 0
    def maybe() -> Ptr[Thing] | None:
        return None
    def put(t: Ptr[Thing]) -> None:
        pass
    @gives_back(put)
    def get(n: u64) -> Result[Ptr[Thing]]:
        return find(n)
"""
)


@pytest.mark.parametrize("name", WRONG)
def test_diagnostics(errors, name):
    body, message, advice = WRONG[name]
    indented = "\n".join("        " + line for line in body.splitlines())
    found = errors(HOUSE + f"    def wrong(n: u64) -> i64:\n{indented}\n")
    assert message in found
    assert advice in found
    assert found.count("error:") == 1, found


SIGNATURES = {
    "ok in a function without errors": (
        "def wrong() -> u64:\n    return ok(find(1)).number",
        "`ok` returns an error from `wrong`, whose result is a `u64`",
        "`-> Result[u64]`",
    ),
    "signed": (
        "def wrong() -> Result[i32]:\n    return 1",
        "`Result[i32]`: a value could not be told from an error code",
        "",
    ),
    "nested": (
        "def wrong() -> Result[Result[None]]:\n    return 1",
        "a value could not be told from an error code",
        "",
    ),
    "a positive code": (
        "def wrong() -> Result[None]:\n    return 22",
        "a `Result[None]` is 0 or a negative error code",
        "",
    ),
    "no way to a value": (
        "def wrong(n: u64) -> Result[u64]:\n    require(n == 3, -22)",
        "`wrong` must return a `Result[u64]` on every path",
        "",
    ),
    "the wrong value": (
        "def wrong(n: u64) -> Result[u32]:\n    return n",
        "expected `u32` (the result type), found `u64`",
        "convert explicitly",
    ),
    "returned from its with": (
        "def wrong(n: u64) -> Result[Ptr[Thing]]:\n    with ok(get(n)) as t:\n        return t",
        "`put` gives `t` back on the way out: it cannot be returned",
        "",
    ),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_diagnostics_of_signatures(errors, name):
    text, message, advice = SIGNATURES[name]
    found = errors(HOUSE + "\n".join("    " + line for line in text.splitlines()) + "\n")
    assert message in found
    assert advice in found
    assert found.count("error:") == 1, found
