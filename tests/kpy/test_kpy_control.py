"""Statements: loops, match, with, narrowing, tuples, calls."""


def test_loops(jit):
    p = jit("""
        def total(n: u32) -> u32:
            sum: u32 = 0
            for i in range(n):
                if i == 3:
                    continue
                if i == 7:
                    break
                sum += i
            return sum
        def steps(a: u8, b: u8) -> u64:
            n: u64 = 0
            for i in range(a, b, 100):
                n += 1
            return n
        def down(n: u64) -> u64:
            seen: u64 = 0
            for i in reversed(range(n)):
                seen = seen * 10 + i
            return seen
        def signed_down(n: i32) -> i32:
            seen: i32 = 0
            for i in range(n, -1, -1):
                seen = seen * 10 + i
            return seen
        def by(a: u64, b: u64, step: u64) -> u64:
            n: u64 = 0
            for i in range(a, b, step):
                n += i
            return n
        def countdown(n: u64) -> u64:
            turns: u64 = 0
            while n:
                n -= 1
                turns += 1
            return turns
        def forever() -> u64:
            i: u64 = 0
            while True:
                i += 1
                if i > 10:
                    return i
    """)
    assert p.total(10) == 0 + 1 + 2 + 4 + 5 + 6
    assert p.steps(50, 255) == 3
    assert p.down(4) == 3210
    assert p.down(0) == 0
    assert p.signed_down(3) == 3210
    assert p.by(0, 10, 3) == 18
    assert p.countdown(5) == 5
    assert p.forever() == 11


def test_a_step_of_zero_panics(jit, panics):
    p = jit("""
        def by(step: u64) -> u64:
            n: u64 = 0
            for i in range(0, 10, step):
                n += 1
            return n
    """)
    assert p.by(5) == 2
    panics("step", p.by, 0)


def test_match(jit, panics):
    p = jit("""
        @enum(u8)
        class State:
            IDLE = 0
            READY = 1
            DEAD = 7
        @struct
        class Box:
            state: State
        def enum_match(s: State) -> u64:
            match s:
                case State.IDLE:
                    return 1
                case State.READY | State.DEAD:
                    return 2
        def integer(x: u64) -> u64:
            result = x
            match x:
                case 0 | 1:
                    result = 10
                case 5:
                    pass
                case _:
                    result = 20
            return result
        def convert(x: u64) -> u8:
            return u8(State(x))
        def stored(b: Ptr[Box]) -> u64:
            return enum_match(b.state)
        def same(s: State) -> bool:
            return s == State.READY or s in (State.DEAD,)
    """)
    assert [p.enum_match(s) for s in (0, 1, 7)] == [1, 2, 2]
    assert [p.integer(x) for x in (0, 1, 5, 6)] == [10, 10, 5, 20]
    assert p.convert(7) == 7
    panics("no `State`", p.convert, 3)
    assert p.same(1) is True
    assert p.same(0) is False


LOCKS = """
@struct
class Lock:
    held: u64
    times: u64
    def __enter__(self) -> None:
        assert self.held == 0, "taken twice"
        self.held = 1
        self.times += 1
    def __exit__(self) -> None:
        self.held = 0
@struct
class Pair:
    one: Lock
    two: Lock
pair = static(Pair)
def early(x: u64) -> u64:
    with pair.one, pair.two:
        if x == 1:
            return 100
        require(x != 2, 200)
    return 300
def looping(n: u64) -> u64:
    turns: u64 = 0
    for i in range(n):
        with pair.one:
            turns += 1
            if i == 2:
                continue
            if i == 4:
                break
    return turns
def held_while_returning() -> u64:
    with pair.one:
        return pair.one.held
def nested() -> None:
    with pair.one:
        with pair.one:
            pass
"""


def test_with_releases_on_every_way_out(jit, panics):
    p = jit(LOCKS)
    for x, expected in ((1, 100), (2, 200), (3, 300)):
        assert p.early(x) == expected
        assert (p.pair.one.held, p.pair.two.held) == (0, 0)
    assert p.pair.two.times == 3
    assert p.looping(10) == 5
    assert p.pair.one.held == 0
    assert p.held_while_returning() == 1
    panics("taken twice", p.nested)


def test_narrowing(jit):
    p = jit("""
        @struct
        class Node:
            value: u64
            next: Ptr["Node"] | None
        nodes = static(Array[Node, 3])
        def link() -> None:
            nodes[0].next = ref(nodes[1])
            nodes[1].next = ref(nodes[2])
            for i in range(3):
                nodes[i].value = i + 1
        def sum(first: Ptr[Node] | None) -> u64:
            total: u64 = 0
            node = first
            while node is not None:
                total += node.value
                node = node.next
            return total
        def last(first: Ptr[Node] | None) -> u64:
            if first is None:
                return 0
            node = first
            following = node.next
            while following is not None:
                node = following
                following = node.next
            return node.value
        def conditions(p: Ptr[Node] | None, q: Ptr[Node] | None) -> u64:
            if p is not None and p.value == 1 and q is not None:
                return q.value
            if p is None or q is None:
                return 99
            return p.value + q.value
        def choose(p: Ptr[Node] | None) -> u64:
            return p.value if p is not None else 7
        def start() -> u64:
            return sum(ref(nodes[0])) * 10 + last(ref(nodes[0]))
    """)
    p.link()
    assert p.start() == 63
    nodes = p.nodes
    assert p.conditions(nodes[0], nodes[1]) == 2
    assert p.conditions(nodes[1], None) == 99
    assert p.conditions(nodes[1], nodes[2]) == 5
    assert p.choose(None) == 7


def test_null_in_memory_panics(jit, panics):
    p = jit("""
        @struct
        class Node:
            value: u64
            owner: Ptr["Node"]
        def owner_value(n: Ptr[Node]) -> u64:
            return n.owner.value
        def make(address: u64) -> u64:
            return load(Ptr[u64](address))
    """)
    from kpy.jit.memory import View

    node = p.new(_struct(p, "Node"), value=4)
    caught = panics("null pointer", p.owner_value, node)
    assert caught.line == 7
    node.owner = View(node.type, node.address)
    assert p.owner_value(node) == 4
    panics("a null", p.make, 0)


def _struct(program, name):
    import sys

    return getattr(sys.modules[program._module], name)


def test_tuples_and_unpacking(jit):
    p = jit("""
        def pair(a: u64) -> tuple[bool, u64]:
            return a > 3, a + 1
        def use(a: u64) -> u64:
            big, more = pair(a)
            _, again = pair(more)
            x, y = more, again
            x, y = y, x
            return x * 10 + y if big else pair(a)[1]
    """)
    assert p.use(4) == 65
    assert p.use(1) == 2


def test_function_pointers_and_build_time(jit):
    p = jit("""
        handlers: dict = {}
        def handles(number: int):
            def register(function):
                handlers[number] = function
                return function
            return register
        @handles(2)
        def double(x: u64) -> u64:
            return x * 2
        @handles(3)
        def triple(x: u64) -> u64:
            return x * 3
        table = static(Array[Fn[[u64], u64] | None, 4], handlers)
        DEBUG = False
        def dispatch(n: u64, x: u64) -> i64:
            if DEBUG:
                does_not_exist(x)
            handler = table[n]
            require(handler is not None, -38)
            return i64(handler(x))
        def apply(f: Fn[[u64], u64], x: u64) -> u64:
            return f(x)
        def indirect(x: u64) -> u64:
            return apply(double, x) + apply(triple, x)
        def never_compiled(x):
            return [x]
        SQUARES = [n * n for n in range(5)]
        def square_of_three() -> u64:
            return SQUARES[3] + len(SQUARES)
    """)
    assert p.dispatch(2, 21) == 42
    assert p.dispatch(3, 2) == 6
    assert p.dispatch(0, 2) == -38
    assert p.indirect(4) == 20
    assert p.square_of_three() == 14


def test_asserts_and_panics(jit, panics):
    p = jit("""
        def check(x: u64) -> u64:
            assert x < 10
            assert x != 5, "five is right out"
            assert sizeof(u64) == 8
            if x == 6:
                panic("six")
            return x
        @cold
        def stop() -> Never:
            unreachable()
        def stops(x: u64) -> u64:
            if x == 0:
                stop()
            return x
    """)
    assert p.check(4) == 4
    caught = panics("assertion failed: x < 10: 10 < 10", p.check, 10)
    assert caught.line == 3
    panics("five is right out", p.check, 5)
    panics("six", p.check, 6)
    panics("unreachable", p.stops, 0)
    assert p.stops(3) == 3


def test_inner_functions_of_build_time_code(jit):
    p = jit("""
        def adder(amount):
            def add(x: u64) -> u64:
                return x + amount
            return add
        add_five = adder(5)
        def use(x: u64) -> u64:
            return add_five(x)
    """)
    assert p.use(1) == 6


def test_adapters_that_a_decorator_puts_before_handlers(jit):
    p = jit("""
        handlers: dict = {}
        def converter(kind):
            def low_bits(word: u64) -> kind:
                return truncate(kind, word)
            return low_bits
        def handles(number: int):
            def register(function):
                kinds = [t for name, t in function.__annotations__.items() if name != "return"]
                take, first = [converter(kind) for kind in kinds], 0
                @stands_before(function)
                def adapter(a: u64, b: u64, c: u64) -> i64:
                    return function(*(take[0](a), take[1](b), take[2](c))[first:len(take)])
                handlers[number] = adapter
                return function
            return register
        @handles(0)
        def none() -> i64:
            return 7
        @handles(1)
        def one(a: u8) -> Result[None]:
            require(a != 3, -3)
        @handles(2)
        def three(a: u64, b: u32, c: u8) -> i64:
            return i64(a * 100 + u64(b) * 10 + u64(c))
        table = static(Array[Fn[[u64, u64, u64], i64] | None, 3], handlers)
        def call(n: u64, a: u64, b: u64, c: u64) -> i64:
            handler = table[n]
            require(handler is not None, -38)
            return handler(a, b, c)
    """)
    assert p.call(0, 1, 2, 3) == 7
    assert [p.call(1, 0x100 + n, 0, 0) for n in (1, 3)] == [0, -3]
    assert p.call(2, 3, 2**32 + 2, 0x101) == 321


def test_a_star_takes_a_tuple_written_out(errors):
    found = errors("""
        def two(a: u64, b: u64) -> u64:
            return a + b
        def wrong(n: u64) -> u64:
            pair = (n, n)
            return two(*pair)
        def few(n: u64) -> u64:
            return two(*(n, n, n)[2:])
    """)
    assert "no `*` here but before a tuple written out, or a slice of one" in found
    assert "`two` takes 2 arguments (a, b), not 1" in found
    assert found.count("error:") == 2
