"""Structs, arrays, slices, pointers, statics, atomics."""

import sys


def type_of(program, name):
    return getattr(sys.modules[program._module], name)


STRUCTS = """
@struct
class Inner:
    a: u8
    b: u32
@struct
class Outer:
    flag: bool
    inner: Inner
    items: Array[u16, 4]
    next: Ptr["Outer"] | None
@struct(packed=True)
class Packed:
    a: u8
    b: u32
    c: u64
@struct(size=64, align=32)
class Padded:
    a: u64
@union
class Either:
    word: u64
    bytes: Array[u8, 8]
assert sizeof(Inner) == 8 and sizeof(Outer) == 32 and offsetof(Outer, "items") == 12
assert sizeof(Packed) == 13 and alignof(Packed) == 1
assert sizeof(Padded) == 64 and alignof(Padded) == 32
assert sizeof(Either) == 8
def build(n: u32) -> Outer:
    return Outer(inner=Inner(a=3, b=n), flag=True)
def copies() -> u64:
    one = build(5)
    two = one
    two.inner.b = 9
    two.items[2] = 7
    return u64(one.inner.b) * 100 + u64(two.inner.b) * 10 + u64(one.items[2]) + u64(two.items[2])
def by_value(o: Outer) -> u32:
    o.inner.b += 1
    return o.inner.b
def pass_copy() -> u32:
    o = build(1)
    return by_value(o) * 10 + o.inner.b
def packed(p: Ptr[Packed]) -> u64:
    p.b = 0x11223344
    p.c += 1
    return u64(p.b) + p.c
def first_byte(word: u64) -> u8:
    e = Either(word=word)
    return e.bytes[0]
def swap_fields(p: Ptr[Outer]) -> None:
    store(p, Outer(inner=Inner(a=truncate(u8, p.inner.b), b=u32(p.inner.a))))
def padding(p: Ptr[Inner]) -> None:
    store(p, Inner(a=1))
def back(p: Ptr[Inner]) -> Ptr[Outer]:
    return container_of(p, Outer, "inner")
def clear(p: Ptr[Outer]) -> None:
    zero(p)
def duplicate(to: Ptr[Outer], origin: Ptr[Outer]) -> None:
    copy(to, origin)
"""


def test_structs(jit):
    p = jit(STRUCTS)
    assert p.copies() == 597
    assert p.pass_copy() == 21
    made = p.build(8)
    assert (made.inner.b, made.flag, made.items[0], made.next) == (8, True, 0, None)
    packed = p.new(type_of(p, "Packed"), c=4)
    assert p.packed(packed) == 0x11223344 + 5
    assert p.first_byte(0x1234) == 0x34
    outer = p.new(type_of(p, "Outer"), flag=True)
    outer.inner = {"a": 7, "b": 300}
    p.swap_fields(outer)
    assert (outer.inner.a, outer.inner.b, outer.flag) == (300 & 255, 7, False)
    assert p.back(outer.ref("inner")) == outer
    other = p.new(type_of(p, "Outer"))
    p.duplicate(other, outer)
    assert other.inner.b == 7
    p.clear(outer)
    assert bytes(outer) == bytes(32)


def test_constructors_zero_the_padding(jit):
    p = jit(STRUCTS)
    inner = p.new(type_of(p, "Inner"))
    import ctypes

    ctypes.memset(inner.address, 0xFF, 8)
    p.padding(inner)
    assert bytes(inner) == b"\1" + bytes(7)


def test_arrays_and_slices(jit, panics):
    p = jit("""
        table = static(Array[u32, 8], [1, 2, 3, 4])
        def get(i: u64) -> u32:
            return table[i]
        def get_signed(i: i32) -> u32:
            return table[i]
        def total() -> u32:
            sum: u32 = 0
            for x in table:
                sum += x
            return sum
        def part(low: u64, high: u64) -> Slice[u32]:
            return table[low:high]
        def slice_sum(s: Slice[u32]) -> u64:
            sum: u64 = len(s) * 1000
            for i, x in enumerate(s):
                sum += u64(x) * i
            return sum
        def item(s: Slice[u32], i: u64) -> u32:
            return s[i]
        def fill_some(n: u64) -> None:
            fill(table[:n], 7)
        def move(low: u64, high: u64) -> None:
            copy_slice(table[:4], table[low:high])
        def text_byte(i: u64) -> u8:
            return "hello"[i]
        def grid() -> u64:
            g = Array[Array[u64, 3], 2]()
            for i in range(2):
                for j in range(3):
                    g[i][j] = i * 10 + j
            return g[1][2]
        def listed(i: u64) -> u16:
            a: Array[u16, 3] = [4, 5, 6]
            return a[i]
        def through(p: Ptr[Array[u32, 8]]) -> u64:
            p[3] = 50
            return u64(p[3]) + len(p)
        def whole() -> u64:
            return through(ref(table))
    """)
    assert p.get(3) == 4
    panics("index 8 of 8 elements", p.get, 8)
    panics("index -1 of 8 elements", p.get_signed, -1)
    assert p.total() == 10
    assert list(p.part(1, 3)) == [2, 3]
    panics("a slice from 3 to 2", p.part, 3, 2)
    panics("a slice up to 9 of 8 elements", p.part, 0, 9)
    assert p.slice_sum([5, 6, 7]) == 3000 + 6 + 14
    assert p.item([1, 2], 1) == 2
    panics("index 2 of 2 elements", p.item, [1, 2], 2)
    p.fill_some(2)
    assert list(p.table)[:3] == [7, 7, 3]
    p.move(2, 6)
    assert list(p.table)[:4] == [3, 4, 0, 0]
    panics("slices of ", p.move, 0, 3)
    assert p.text_byte(1) == ord("e")
    assert p.grid() == 12
    assert p.listed(2) == 6
    assert p.whole() == 58


def test_struct_iteration_and_methods(jit):
    p = jit("""
        @struct
        class Counter:
            value: u64
            step: u64
            LIMIT = 10
            def advance(self) -> u64:
                self.value = min(self.value + self.step, self.LIMIT)
                return self.value
            @inline
            def reset(self) -> None:
                self.value = 0
        counters = static(Array[Counter, 3])
        def setup() -> None:
            for i, c in enumerate(counters):
                c.step = i + 1
        def run() -> u64:
            total: u64 = 0
            for c in counters:
                total += c.advance()
            return total
        def once() -> u64:
            c = Counter(step=4)
            c.advance()
            result = c.advance()
            c.reset()
            return result * 10 + c.value
        def limit() -> u64:
            return Counter.LIMIT
    """)
    p.setup()
    assert (p.run(), p.run()) == (6, 12)
    assert p.once() == 80
    assert p.limit() == 10


def test_statics(jit):
    p = jit("""
        @struct
        class Entry:
            name: Array[u8, 8]
            value: u32
            next: Ptr["Entry"] | None
            handler: Fn[[u64], u64] | None
            title: Slice[u8]
            mask: Array[u16, 3]
        def plus(x: u64) -> u64:
            return x + 1
        first = static(Entry, {"name": b"one", "value": 1, "mask": {1: 5}})
        fields = {"name": "two", "value": 2, "next": first, "handler": plus, "title": "second"}
        second = static(Entry, fields)
        computed = static(Array[u64, 4], lambda: [n * n for n in range(4)])
        counter = static(u64, 5)
        maybe = static(Ptr[Entry] | None)
        def sum() -> u32:
            following = second.next
            require(following is not None, 0)
            return following.value + second.value + u32(following.mask[1])
        def call(x: u64) -> u64:
            handler = second.handler
            return handler(x) if handler is not None else 0
        def bump() -> u64:
            global counter
            counter += 1
            counter = counter * 2
            return counter
        def set_maybe() -> bool:
            global maybe
            maybe = ref(first)
            found = maybe
            return found is not None
        def title() -> Slice[u8]:
            return second.title
    """)
    assert p.sum() == 8
    assert p.call(4) == 5
    assert bytes(p.first.name) == b"one".ljust(8, b"\0")
    assert list(p.computed) == [0, 1, 4, 9]
    assert p.bump() == 12
    assert p.counter.value == 12
    p.counter.value = 20
    assert p.bump() == 42
    assert p.set_maybe() is True
    assert bytes(p.title()) == b"second"
    assert p.counter.value == 42


def test_atomics(jit):
    p = jit("""
        word = static(u32, 5)
        flag = static(bool)
        def run() -> u64:
            old = atomic_add(ref(word), 3)
            assert old == 5 and atomic_load(ref(word)) == 8
            assert atomic_sub(ref(word), 1) == 8
            atomic_or_(ref(word), 0x10)
            atomic_and_(ref(word), ~1)
            atomic_xor(ref(word), 0x100)
            assert atomic_xchg(ref(word), 1) == 0x116
            seen, done = atomic_cas(ref(word), 1, 9)
            assert seen == 1 and done
            seen, done = atomic_cas(ref(word), 1, 10)
            assert seen == 9 and not done
            atomic_store(ref(word), 77)
            assert not atomic_xchg(ref(flag), True)
            was, done = atomic_cas(ref(flag), True, False)
            assert was and done and not atomic_load(ref(flag))
            barrier()
            fence()
            return u64(word)
    """)
    assert p.run() == 77


def test_volatile_accesses_are_all_kept(module):
    from kpy.check import checker
    from kpy.emit.backend import optimise
    from kpy.front import modules
    from kpy.front.program import Program
    from kpy.lower.unit import Unit

    name = module("""
        @struct
        class Device:
            status: Volatile[u32]
            fifo: Array[Volatile[u8], 4]
        @export
        def poll(d: Ptr[Device]) -> u32:
            first = d.status
            d.fifo[1] = 3
            d.fifo[1] = 4
            return d.status
    """)
    program = Program()
    loaded = modules.load(program, name)
    (instance,) = checker.check_all(program, modules.declared_instances(program, loaded))
    unit = Unit(program, name)
    unit.function(instance)
    text = str(optimise(unit.finish(), unit.triple)[0])
    assert text.count("load volatile i32") == 2
    assert text.count("store volatile i8") == 2


def test_guest_addresses(jit):
    p = jit("""
        @struct
        class Item:
            a: u64
            b: u64
        def nth(g: Guest[Item], i: u32) -> Guest[Item]:
            return g.index(i)
        def address(g: Guest[Item]) -> Tainted[u64]:
            return g.cast(u8).index(1).address()
        def make(a: u64) -> Guest[u32]:
            return Guest[u32](a)
    """)
    assert p.nth(0x1000, 3) == 0x1030
    assert p.nth((1 << 64) - 16, 1) == 0
    assert p.address(0x2000) == 0x2001
    assert p.make(7) == 7


def test_pointers(jit, panics):
    p = jit("""
        def swap(a: Ptr[u64], b: Ptr[u64]) -> None:
            t = load(a)
            store(a, load(b))
            store(b, t)
        def locals_() -> u64:
            x: u64 = 1
            y: u64 = 2
            swap(ref(x), ref(y))
            return x * 10 + y
        def reinterpret(x: u32) -> u8:
            value = x
            return load(cast(u8, ref(value)))
        def same(a: Ptr[u64], b: Ptr[u64] | None) -> bool:
            return a == b and a is b
        def address(a: Ptr[u64]) -> u64:
            return u64(a)
        def view(a: Ptr[u8], n: u64) -> Slice[u8]:
            return Slice[u8](a, n)
        def half(a: Ptr[u64]) -> u32:
            volatile_store(a, 0x1_0000_0002)
            return load(cast(u32, a)) + truncate(u32, volatile_load(a) >> 32)
    """)
    assert p.locals_() == 21
    assert p.reinterpret(0x1234) == 0x34
    from kpy import u64

    cell = p.new(u64)
    assert p.same(cell, cell) is True
    assert p.same(cell, None) is False
    assert p.address(cell) == cell.address
    assert p.half(cell) == 3
    assert bytes(p.view(cell, 2)) == b"\2\0"
