"""`with` over references: `@gives_back(put)` functions, on every way out of a block."""

import pytest

HOUSE = """
    @struct
    class Lock:
        held: u64
        def __enter__(self) -> None:
            log(1)
            self.held += 1
        def __exit__(self) -> None:
            log(2)
            self.held -= 1
    @struct
    class Thing:
        refs: u64
        number: u64
        lock: Lock
    things = static(Array[Thing, 3])
    trace = static(Array[u64, 32])
    traced = static(Array[u64, 1])
    def log(what: u64) -> None:
        trace[traced[0]] = what
        traced[0] += 1
    def put(t: Ptr[Thing]) -> None:
        log(10 + t.number)
        t.refs -= 1
    @gives_back(put)
    def get(number: u64) -> Ptr[Thing] | None:
        if number >= 3:
            return None
        things[number].number = number
        things[number].refs += 1
        return ref(things[number])
    @gives_back(put)
    def get_first() -> Ptr[Thing]:
        things[0].refs += 1
        return ref(things[0])
    def balance() -> u64:
        total: u64 = 0
        for t in things:
            total += t.refs + t.lock.held
        return total
"""


@pytest.fixture
def house(jit):
    """Compile functions beside HOUSE; `run(name, *arguments)` calls one, checks that all is given
    back, and returns the result and the log of puts and locks.
    """

    def compile_(text):
        program = jit(HOUSE + text)

        def run(name, *arguments):
            program.traced[0] = 0
            result = getattr(program, name)(*arguments)
            assert program.balance() == 0
            return result, list(program.trace)[: program.traced[0]]

        return run

    return compile_


def test_every_way_out_gives_back(house):
    run = house("""
    def ways(number: u64, way: u64) -> i64:
        with get(number) as t:
            require(t is not None, -3)
            require(way != 1, -22)
            if way == 2:
                return i64(t.refs) + 5
            log(99)
        return 0
    """)
    assert run("ways", 7, 0) == (-3, [])
    assert run("ways", 1, 1) == (-22, [11])
    assert run("ways", 1, 2) == (6, [11])
    assert run("ways", 2, 0) == (0, [99, 12])


def test_break_and_continue_give_back(house):
    run = house("""
    def loop(stop: u64) -> u64:
        seen: u64 = 0
        for i in range(u64(5)):
            with get(i) as t:
                if t is None:
                    continue
                if t.number == stop:
                    break
                seen += 1
        return seen
    """)
    assert run("loop", 1) == (1, [10, 11])
    assert run("loop", 9) == (3, [10, 11, 12])


def test_locks_and_references_in_one_with(house):
    run = house("""
    def both(way: u64) -> u64:
        with get_first() as t, t.lock, get(1) as other:
            if other is None or way == 1:
                return 7
            with get(2) as third:
                return 8 if third is None else t.refs + other.refs + third.refs
    """)
    assert run("both", 0) == (3, [1, 12, 11, 2, 10])
    assert run("both", 1) == (7, [1, 11, 2, 10])


def test_a_reference_without_a_name_and_without_with(house):
    run = house("""
    @inline
    def hold(number: u64) -> bool:
        with get(number):
            return things[number % 3].refs == 1
    def use(number: u64) -> bool:
        kept = get(number)
        if kept is None:
            return hold(number)
        put(kept)
        return hold(number) and not hold(9)
    """)
    assert run("use", 2) == (True, [12, 12])
    assert run("use", 4) == (False, [])


def test_names_can_be_used_again(house):
    run = house("""
    def twice() -> u64:
        total: u64 = 0
        with get(1) as t:
            total += 1 if t is not None else 0
        with get_first() as t:
            total += t.refs
        t = total
        return t
    """)
    assert run("twice") == (2, [11, 10])


def test_results_that_are_no_pointers(jit):
    p = jit("""
        Handle = newtype("Handle", u32)
        @struct
        class Window:
            base: u64
            length: u64
        given = static(Array[u64, 2])
        def drop(h: Handle) -> None:
            given[0] += u64(h)
        def close(w: Ptr[Window]) -> None:
            given[1] += w.length
        @gives_back(drop)
        def take(n: u32) -> Handle:
            return Handle(n)
        @gives_back(close)
        def window(n: u64) -> Window:
            return Window(base=n, length=2 * n)
        def use(n: u32) -> u64:
            with take(n) as h, window(u64(h)) as w:
                w.base += 1
                return w.base
    """)
    assert p.use(20) == 21
    assert list(p.given) == [20, 40]


def test_generic_functions_and_methods(jit):
    p = jit("""
        T = TypeVar("T")
        @struct
        class Pool:
            out: u64
            value: u64
        pool = static(Pool)
        def put_back(p: Ptr[T]) -> None:
            pool.out -= 1
        @gives_back(put_back)
        def lend(p: Ptr[T]) -> Ptr[T]:
            pool.out += 1
            return p
        def use() -> u64:
            with lend(ref(pool.value)) as v, lend(ref(pool)) as p:
                store(v, 5)
                return p.out * 10 + pool.out
    """)
    assert p.use() == 22
    assert p.pool.out == 0 and p.pool.value == 5


WRONG = {
    "returned": (
        "with get(1) as t:\n    return t\nreturn None",
        "`put` gives `t` back on the way out: it cannot be returned",
        "take it without `with`",
    ),
    "returned as an alternative": (
        "with get(1) as t, get(2) as u:\n    return u if t is None else t",
        "`put` gives `u` back",
        "",
    ),
    "assigned": (
        "with get(1) as t:\n    t = None\nreturn None",
        "`t` is given back by `put`, and cannot be changed",
        "use a variable of another name",
    ),
    "a loop's variable": (
        "with get(1) as t:\n    for t in range(3):\n        pass\nreturn None",
        "`t` is given back by `put`, and cannot be changed",
        "",
    ),
    "bound again inside": (
        "with get(1) as t:\n    with get(2) as t:\n        pass\nreturn None",
        "`t` is a variable already, since line",
        "takes a name of its own",
    ),
    "its address": (
        "with get(1) as t:\n    p = ref(t)\nreturn None",
        "`t` is given back by `put`, and cannot be changed",
        "",
    ),
    "used after": (
        "with get(1) as t:\n    pass\nreturn t",
        "`t` was given back by `put` on line",
        "",
    ),
    "unchecked": (
        "with get(1) as t:\n    log(t.number)\nreturn None",
        "`t` may be null",
        "require(t is not None, …)",
    ),
    "two names": (
        "with get(1) as (t, u):\n    pass\nreturn None",
        "what `put` gives back has one plain variable",
        "",
    ),
    "a function without the mark": (
        "with plain() as t:\n    pass\nreturn None",
        "`Ptr[Thing]` has no `__enter__` and `__exit__`",
        "`@gives_back(put)` on `plain` says what takes its result back",
    ),
    "a put for another type": (
        "with mismatched() as t:\n    pass\nreturn None",
        "expected `Ptr[Thing]`, found `u64`",
        "",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_diagnostics(errors, name):
    body, message, advice = WRONG[name]
    indented = "\n".join("        " + line for line in body.splitlines())
    found = errors(
        HOUSE
        + f"""
    def plain() -> Ptr[Thing]:
        return ref(things[0])
    @gives_back(put)
    def mismatched() -> u64:
        return 1
    def wrong() -> Ptr[Thing] | None:
{indented}
    """
    )
    assert message in found
    assert advice in found
    assert found.count("error:") == 1, found
