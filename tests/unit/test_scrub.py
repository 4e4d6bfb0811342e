"""Zeroing free memory in idle time: what is marked as zero is, and nothing else is given away."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.frames.frame import SCRUBBED
from tests.unit.memory_machine import END, FIRST, NR_FRAMES, PAGE, MemoryMachine

SECRET = b"a secret"
MOST_STEPS = 200


class Machine(MemoryMachine):
    """Processor 1 has flushed all translations that are older than `flushed`, this one, 0, those
    older than `flushed_here`.
    """

    def __init__(self):
        self.flushed = self.flushed_here = 0
        super().__init__(
            "kernel.frames.scrub",
            also=[
                "kernel.frames.allocation",
                "kernel.frames.frame",
                "kernel.frames.exchange",
                "kernel.frames.core_page",
            ],
            replace={
                "kernel.x86.tlb.cpus_needing_flush": self.cpus_needing_flush,
                "kernel.x86.tlb.flush_tlb_local": self.flush_here,
            },
        )

    def cpus_needing_flush(self, _, stamp):
        return int(stamp > self.flushed_here) | int(stamp > self.flushed) << 1

    def flush_here(self):
        self.flushed_here = self.tlb_clock

    def start_over(self):
        super().start_over()
        self.flushed = self.flushed_here = self.tlb_clock
        search = self["kernel.frames.scrub.search"]
        search.nr_changes = search.rest = search.block = search.passed_any = 0
        for mfn in range(FIRST, END):
            self.write(mfn, 0, SECRET)

    def scrub(self, steps=MOST_STEPS):
        """Idle for some steps, at most until nothing is left to do."""
        for _ in range(steps):
            if not self["kernel.frames.scrub.scrub_due"]():
                return True
            self["kernel.frames.scrub.scrub_step"]()
        return False

    def scrubbed(self):
        return {mfn for mfn in range(FIRST, END) if self.frame(mfn).owner == SCRUBBED}

    def drop(self, mfn):
        assert self["kernel.frames.frame.drop_allocation"](self.frame(mfn))


def test_all_free_memory_is_zeroed_once(machine):
    assert machine.scrub()
    assert machine.scrubbed() == set(range(FIRST, END))
    assert all(machine.text(mfn) == bytes(PAGE) for mfn in range(FIRST, END))
    assert not machine["kernel.frames.scrub.scrub_due"](), "nothing changed since"


def test_a_step_is_short(machine):
    machine["kernel.frames.scrub.scrub_step"]()
    assert 0 < len(machine.scrubbed()) <= 4


def test_who_gets_a_scrubbed_frame_flushes_nothing(machine):
    machine.scrub()
    one = machine.new_domain(1)
    machine.flushes.clear()
    mfn = machine.alloc(one, 3)
    assert all(machine.text(mfn + i) == bytes(PAGE) for i in range(8))
    assert not machine.flushes
    assert not machine.scrubbed() & set(range(mfn, mfn + 8)), "it has an owner now"


def test_memory_that_was_used_and_came_back_meanwhile_is_zeroed(machine):
    machine.scrub()
    mfn = machine.alloc(machine.new_domain(1))
    machine.write(mfn, 0, SECRET)
    machine.drop(mfn)
    assert machine.nr_free == NR_FRAMES, "as many as before"
    assert machine.scrub()
    assert machine.scrubbed() == set(range(FIRST, END))


def free_all_used(machine):
    """Let a domain use all frames, and free them in two batches."""
    one = machine.new_domain(1)
    mine = [machine.alloc(one) for _ in range(NR_FRAMES)]
    for mfn in mine:
        machine.write(mfn, 0, SECRET)
    for batch in (mine[::2], mine[1::2]):
        machine.tlb_clock += 1
        for mfn in batch:
            machine.drop(mfn)


def test_a_frame_that_another_tlb_may_still_know_waits_for_its_flush(machine):
    free_all_used(machine)
    assert machine.scrub()
    assert machine.scrubbed() == set()
    machine.flushed = machine.tlb_clock - 1
    assert not machine["kernel.frames.scrub.scrub_due"](), "there are younger ones"
    machine.flushed = machine.tlb_clock
    assert machine.scrub()
    assert machine.scrubbed() == set(range(FIRST, END))


def test_a_processor_that_alone_may_know_a_frame_flushes(machine):
    free_all_used(machine)
    machine.flushed = machine.tlb_clock
    assert machine.scrub()
    assert machine.scrubbed() == set(range(FIRST, END))
    assert machine.flushed_here == machine.tlb_clock


def test_a_core_page_loses_the_mark(machine):
    machine.scrub()
    page = machine["kernel.frames.core_page.alloc_core_page"]()
    mfn = machine["kernel.frames.core_page.core_page_mfn"](page)
    machine.write(mfn, 0, SECRET)
    machine["kernel.frames.core_page.free_core_page"](page)
    assert mfn not in machine.scrubbed()
    assert machine.text(machine.alloc(machine.new_domain(1), 7)) == bytes(PAGE)


acts = st.lists(
    st.tuples(
        st.sampled_from(["scrub", "alloc", "drop", "flush"]), st.integers(0, 3), st.integers(0, 99)
    ),
    max_size=40,
)


@settings(max_examples=40)
@given(acts=acts)
def test_nobody_ever_sees_what_another_wrote(compiled, acts):
    """Scrubbing between, and in the middle of, whatever else happens to the heap."""
    machine = compiled
    machine.start_over()
    domains = [machine.new_domain(number) for number in (1, 2)]
    owned = []
    for act, order, choice in acts:
        if act == "scrub":
            machine.scrub(choice % 7)
        elif act == "flush":
            machine.flushed = machine.flushed_here = machine.tlb_clock
        elif act == "alloc":
            mfn = machine.alloc(domains[choice % 2], order)
            for i in range(1 << order if mfn else 0):
                assert machine.text(mfn + i) == bytes(PAGE)
                machine.write(mfn + i, choice, SECRET)
                owned.append(mfn + i)
        elif owned:
            machine.tlb_clock += 1
            machine.drop(owned.pop(choice % len(owned)))
    assert not machine.scrubbed() & set(owned)
    assert all(machine.text(mfn) == bytes(PAGE) for mfn in machine.scrubbed())
    assert machine.nr_free == NR_FRAMES - len(owned)
