"""Generic functions."""


def test_one_copy_for_each_set_of_types(jit):
    p = jit("""
        T = TypeVar("T")
        U = TypeVar("U")
        N = TypeVar("N")
        def swap(a: Ptr[T], b: Ptr[T]) -> None:
            t = load(a)
            store(a, load(b))
            store(b, t)
        def size(p: Ptr[T]) -> u64:
            return sizeof(T)
        def count(a: Ptr[Array[T, N]]) -> u64:
            return N * 100 + sizeof(T)
        def largest(s: Slice[T], least: T) -> T:
            found = least
            for x in s:
                if x > found:
                    found = x
            return found
        def zeroed(kind: type[T]) -> T:
            return T()
        def view(kind: type[T], address: u64) -> Ptr[T]:
            assert sizeof(kind) > 0
            return Ptr[T](address)
        def apply(f: Fn[[T], U], x: T) -> U:
            return f(x)
        def is_big(x: u32) -> bool:
            return x > 100
        @struct
        class Point:
            x: u32
            y: u32
        def use() -> u64:
            a = Point(x=1, y=2)
            b = Point(x=3)
            swap(ref(a), ref(b))
            i: u8 = 1
            j: u8 = 2
            swap(ref(i), ref(j))
            return u64(a.x) * 1000 + u64(b.y) * 100 + u64(i) * 10 + size(ref(a)) + size(ref(j))
        data = static(Array[u16, 4], [3, 9, 2, 1])
        def more() -> u64:
            return u64(largest(data[:], 5)) + count(ref(data))
        def by_type() -> u64:
            p = zeroed(Point)
            q = view(Point, u64(ref(p)))
            q.y = 7
            return u64(p.y)
        def functions(x: u32) -> bool:
            return apply(is_big, x)
    """)
    assert p.use() == 3229
    assert p.more() == 9 + 402
    assert p.by_type() == 7
    assert p.functions(101) is True


def test_generic_errors_name_the_variable(errors):
    shown = errors("""
        T = TypeVar("T")
        def same(a: Ptr[T], b: Ptr[T]) -> None:
            pass
        def lost(n: u64) -> Ptr[T]:
            return Ptr[T](n)
        def use(x: u8, y: u16) -> None:
            same(ref(x), ref(y))
            same(x, x)
    """)
    assert "expected `Ptr[u8]` (parameter `b`), found `Ptr[u16]`" in shown
    assert "take its address, `ref(x)`" in shown
