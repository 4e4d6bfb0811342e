"""What a guest gives is `Tainted` wherever the core has it: by the type of what it is copied to, or
of the page that the guest shares.
"""

import io
import tokenize
from pathlib import Path

import abi
import pytest
from kpy.check import checker, typed
from kpy.front import modules
from kpy.front.program import Program
from kpy.front.structs import StructType
from kpy.front.types import ArrayType, PtrType, SliceType, VolatileType

from kernel.state.domain import Domain
from kernel.state.grant_table import SharedGrantPage
from kernel.state.vcpu import Vcpu
from tests.unit.typed_tree import core_functions, nodes_of

ROOT = Path(__file__).parents[2]
# What a guest writes while the core uses it, what it gives whole, and what is in its registers.
GUESTS_OWN = {
    abi.shared_info,
    abi.vcpu_info,
    abi.grant_entry_v1,
    abi.trap_info,
    abi.cpu_user_regs,
    abi.vcpu_guest_context,
}
# Those of them that it may change between two looks of the core.
SHARED = (abi.shared_info, abi.vcpu_info, abi.grant_entry_v1)
READERS = {"copy_bytes_from_guest"}
WRAPPERS = {"copy_from_guest", "copy_slice_from_guest", "bytes_from_guest"}


def innermost(type_):
    """What a pointer leads to, and an array or slice is made of."""
    while isinstance(type_, PtrType | ArrayType | SliceType | VolatileType):
        type_ = type_.target if isinstance(type_, PtrType) else type_.element
    return type_


def plain_types():
    """Every plain structure of a guest's own that a function of the core handles."""
    for instance in core_functions():
        for node in nodes_of(instance.body):
            if isinstance(node, typed.Expr) and innermost(node.type) in GUESTS_OWN:
                yield instance.function.module, instance.function.name, str(node.type)


def test_no_function_has_a_guests_structure_as_the_cores_own():
    assert not sorted(set(plain_types()))


@pytest.mark.parametrize("struct", [Domain, Vcpu, SharedGrantPage], ids=str)
def test_what_a_guest_shares_is_tainted(struct):
    kinds = [innermost(field.type) for field in struct.fields.values()]
    assert any(kind.untainted() in GUESTS_OWN for kind in kinds), "it holds none: look elsewhere"
    assert not [kind for kind in kinds if kind in GUESTS_OWN]


def parts_of(struct):
    """A structure, and all in it, tainted."""
    yield struct.tainted()
    for field in struct.fields.values():
        if isinstance(inner := innermost(field.type), StructType):
            yield from parts_of(inner)


def believed(functions):
    """Reads of shared memory whose value an earlier look at it has bounded."""
    shared = {part for struct in SHARED for part in parts_of(struct)}
    for instance in functions:
        for node in nodes_of(instance.body):
            place = node.base if isinstance(node, typed.ElementOf) else node
            if isinstance(place, typed.FieldOf) and place.base.type in shared:
                declared = innermost(place.field.type)
                if innermost(node.type) is not declared and not isinstance(declared, StructType):
                    yield instance.function.name, place.field.name


def test_nothing_in_a_shared_page_is_believed_at_a_second_look():
    assert not sorted(set(believed(core_functions())))


SECOND_LOOKS = """
from kpy import Ptr, u64
from kernel.state.domain import Domain

def at_a_field(d: Ptr[Domain]) -> u64:
    return d.shared_info.arch.max_pfn if d.shared_info.arch.max_pfn < 4 else 0

def at_an_element(d: Ptr[Domain]) -> u64:
    return d.shared_info.evtchn_mask[1] if d.shared_info.evtchn_mask[1] < 4 else 0

def at_a_copy(d: Ptr[Domain]) -> u64:
    pfn = d.shared_info.arch.max_pfn
    return pfn if pfn < 4 else 0
"""


def test_a_second_look_would_be_found(tmp_path, monkeypatch):
    (tmp_path / "second_looks.py").write_text(SECOND_LOOKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    program = Program()
    roots = modules.declared_instances(program, modules.load(program, "second_looks"))
    found = believed(checker.check_all(program, roots))
    assert {name for name, _ in found} == {"at_a_field", "at_an_element"}


def callers_of(name):
    return {
        instance.function.name
        for instance in core_functions()
        for callee in instance.callees
        if callee.function.name == name
    }


def test_guest_memory_is_read_by_the_library_alone_which_taints():
    assert callers_of("read_guest") == READERS
    assert callers_of("copy_bytes_from_guest") == WRAPPERS
    for instance in core_functions():
        if instance.function.name in WRAPPERS:
            there = innermost(instance.params[0][1])
            assert there.tainted() is there, f"{instance.function.name} to {there}"


def comments_and_uses(path):
    """The lines of a file that have a comment, and those on which something is `trusted`."""
    comments, uses, before = set(), [], ""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.string == "(" and before == "trusted":
            uses.append(token.start[0])
        if token.type not in (tokenize.NL, tokenize.COMMENT):
            before = token.string
    return comments, uses


def test_what_is_trusted_says_why():
    silent = []
    for path in sorted((ROOT / "kernel").rglob("*.py")):
        comments, uses = comments_and_uses(path)
        near = [line for line in uses if not comments & set(range(line - 3, line + 1))]
        silent += [f"{path.relative_to(ROOT)}:{line}" for line in near]
    assert not silent
