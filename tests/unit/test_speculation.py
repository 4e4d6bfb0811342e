"""What the core does about speculative leaks, on processors of several kinds."""

import pytest
from kpy import jit

from kernel.state.vcpu import Vcpu
from kernel.x86.percpu import Pcpu

INTEL, AMD = 0x756E6547, 0x68747541
EFER, SPEC_CTRL, PRED_CMD, ARCH_CAPABILITIES = 0xC0000080, 0x48, 0x49, 0x10A
IBRSB, STIBP, ARCH_CAPS, SSBD, MD_CLEAR = (1 << n for n in (26, 27, 29, 31, 10))
RDCL_NO, IBRS_ALL, SSB_NO, MDS_NO = 1 << 0, 1 << 1, 1 << 4, 1 << 5
MMIO_NO, RFDS_NO, TAA_NO = 7 << 13, 1 << 27, 1 << 8
RTM = 1 << 11
AMD_IBPB, AMD_SSB_NO, AUTOMATIC_IBRS = 1 << 12, 1 << 26, 1 << 8


STATE = [
    f"kernel.x86.{name}"
    for name in (
        "predictors.core_spec_ctrl",
        "predictors.guest_spec_ctrl",
        "speculation.arch_capabilities",
    )
]


class Processor:
    """CPUID and MSRs of one processor, and the core's functions on it."""

    def __init__(self):
        self.leaves, self.msrs, self.written = {}, {}, []
        self.core = jit.load(
            "kernel.x86.speculation",
            also=("kernel.x86.predictors", "kernel.emulate.msr", "kernel.base.cmdline"),
            replace={
                "kernel.x86.features.cpuid": self.cpuid,
                "kernel.x86.cpu.rdmsr": lambda msr: self.msrs[msr],
                "kernel.x86.cpu.wrmsr": self.write,
                "kernel.x86.percpu.this_cpu": lambda: self.cpu,
            },
        )
        self.cpu = self.core.new(Pcpu)
        self.initial = {name: self.core[name].value for name in STATE}

    def cpuid(self, leaf, subleaf):
        words = self.leaves.get(leaf, {})
        return {name: words.get(name, 0) for name in ("eax", "ebx", "ecx", "edx")}

    def write(self, msr, value):
        self.msrs[msr] = value
        self.written.append((msr, value))

    def start(self, vendor, line="", *, edx=0, ebx=0, capabilities=0, amd=0, amd_21=0):
        self.leaves = {
            0: {"eax": 7, "ebx": vendor},
            7: {"edx": edx, "ebx": ebx},
            0x80000000: {"eax": 0x80000021},
            0x80000008: {"ebx": amd},
            0x80000021: {"eax": amd_21},
        }
        self.msrs = {ARCH_CAPABILITIES: capabilities, EFER: 0xD01}
        self.written = []
        for name, word in self.initial.items():
            self.core[name].value = word
        self.cpu.spec_ctrl = 0
        self.core["kernel.base.cmdline.set_command_line"](f"image {line}".encode())
        self.core.read_speculation()
        self.core["kernel.x86.predictors.set_speculation_controls"](self.cpu)

    def predictors(self, name, *arguments):
        return self.core[f"kernel.x86.predictors.{name}"](*arguments)

    def vcpu(self):
        return self.core.new(Vcpu)

    def guest(self, name, *arguments):
        return self.core[f"kernel.emulate.msr.{name}"](*arguments)

    def state(self, name):
        return self.core[f"kernel.x86.speculation.{name}"].value


@pytest.fixture(scope="module")
def compiled():
    return Processor()


@pytest.fixture
def processor(compiled):
    return compiled


EVERY_NO = RDCL_NO | IBRS_ALL | SSB_NO | MDS_NO | MMIO_NO | RFDS_NO


def test_a_processor_that_says_nothing_leaks(processor):
    processor.start(INTEL)
    assert processor.state("leaks_meltdown") and processor.state("leaks_buffers")
    assert processor.state("leaks_past_stores")
    assert processor.written == [] and not processor.state("empties_buffers")


def test_a_processor_that_denies_all(processor):
    processor.start(INTEL, edx=IBRSB | ARCH_CAPS | MD_CLEAR, capabilities=EVERY_NO)
    assert not processor.state("leaks_meltdown") and not processor.state("leaks_buffers")
    assert not processor.state("leaks_past_stores") and not processor.state("empties_buffers")
    assert processor.written == [(SPEC_CTRL, 1)]


@pytest.mark.parametrize("missing", [MDS_NO, 1 << 13, 1 << 14, 1 << 15, RFDS_NO], ids=hex)
def test_each_kind_of_buffer_counts(processor, missing):
    processor.start(INTEL, edx=ARCH_CAPS | MD_CLEAR, capabilities=EVERY_NO & ~missing)
    assert processor.state("leaks_buffers") and processor.state("empties_buffers")


def test_buffers_are_emptied_when_told(processor):
    processor.start(AMD, "spec-ctrl=md-clear")
    assert processor.state("empties_buffers")
    processor.start(INTEL, "spec-ctrl=ibrs", edx=MD_CLEAR)
    assert processor.state("leaks_buffers") and not processor.state("empties_buffers")


def test_transactions_leak_where_there_are_some(processor):
    processor.start(INTEL, edx=ARCH_CAPS, ebx=RTM, capabilities=EVERY_NO)
    assert processor.state("leaks_buffers")
    processor.start(INTEL, edx=ARCH_CAPS, ebx=RTM, capabilities=EVERY_NO | TAA_NO)
    assert not processor.state("leaks_buffers")


def test_amd(processor):
    processor.start(AMD, amd=AMD_IBPB, amd_21=AUTOMATIC_IBRS)
    assert not processor.state("leaks_meltdown") and not processor.state("leaks_buffers")
    assert processor.state("leaks_past_stores")
    assert processor.written == [(EFER, 0xD01 | 1 << 21)]
    assert processor.guest("read_msr", processor.vcpu(), EFER) == (0xD01, True)
    processor.start(AMD, amd=AMD_SSB_NO)
    assert not processor.state("leaks_past_stores") and processor.written == []


@pytest.mark.parametrize(
    ("line", "restricts", "empties"),
    [
        ("", True, True),
        ("spec-ctrl=no", False, False),
        ("spec-ctrl=ibrs", True, False),
        ("spec-ctrl=md-clear,ibpb", False, True),
    ],
)
def test_the_command_line_chooses(processor, line, restricts, empties):
    processor.start(INTEL, line, edx=IBRSB | ARCH_CAPS, capabilities=IBRS_ALL)
    assert processor.written == ([(SPEC_CTRL, 1)] if restricts else [])
    processor.written.clear()
    processor.predictors("leave_domain")
    assert processor.written == ([(PRED_CMD, 1)] if empties else [])


def test_without_the_command_nothing_is_emptied(processor):
    processor.start(INTEL)
    processor.predictors("leave_domain")
    assert processor.written == []
    assert not processor.guest("write_msr", processor.vcpu(), PRED_CMD, 1)


def test_what_a_guest_chose_goes_with_it(processor):
    processor.start(INTEL, edx=IBRSB | STIBP | SSBD | ARCH_CAPS, capabilities=IBRS_ALL)
    one = processor.vcpu()
    processor.written.clear()
    assert processor.guest("write_msr", one, SPEC_CTRL, 6)
    assert processor.guest("read_msr", one, SPEC_CTRL) == (6, True)
    for chosen in (0, 0, one.spec_ctrl):
        processor.predictors("load_spec_ctrl", processor.cpu, chosen)
    assert processor.written == [(SPEC_CTRL, 7), (SPEC_CTRL, 1), (SPEC_CTRL, 7)]


def test_a_guest_sets_only_what_there_is(processor):
    processor.start(INTEL, edx=IBRSB | STIBP)
    vcpu = processor.vcpu()
    assert processor.guest("write_msr", vcpu, SPEC_CTRL, 3)
    for value in (4, 8, 1 << 32, 1 << 63):
        assert not processor.guest("write_msr", vcpu, SPEC_CTRL, value)
    assert vcpu.spec_ctrl == 3
    processor.written.clear()
    assert processor.guest("write_msr", vcpu, PRED_CMD, 0) and processor.written == []
    assert processor.guest("write_msr", vcpu, PRED_CMD, 1)
    assert processor.written == [(PRED_CMD, 1)]
    assert not processor.guest("write_msr", vcpu, PRED_CMD, 2)
    assert processor.guest("read_msr", vcpu, PRED_CMD) == (0, False)


def test_a_guest_without_controls(processor):
    processor.start(INTEL)
    vcpu = processor.vcpu()
    assert processor.guest("read_msr", vcpu, SPEC_CTRL) == (0, False)
    assert not processor.guest("read_msr", vcpu, ARCH_CAPABILITIES)[1]
    assert not processor.guest("write_msr", vcpu, SPEC_CTRL, 0)


def test_a_guest_is_told_how_leaks_stand(processor):
    hidden = 1 << 11 | 1 << 12 | 1 << 63
    processor.start(INTEL, edx=ARCH_CAPS, capabilities=EVERY_NO | hidden)
    vcpu = processor.vcpu()
    assert processor.guest("read_msr", vcpu, ARCH_CAPABILITIES) == (EVERY_NO, True)
    assert not processor.guest("write_msr", vcpu, ARCH_CAPABILITIES, 0)
