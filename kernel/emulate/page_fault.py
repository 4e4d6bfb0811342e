"""Page faults of guests that the core caused and repairs: writes to a page table, which is mapped
read-only, and looks into an LDT whose page is not mapped yet.
"""

from kpy import Ptr, Tainted, noinline, u32, u64, wrapping_add

from kernel.base.guest_memory import guest_address_okay
from kernel.emulate.ptwr import emulate_table_write
from kernel.entry.bounce import deliver_page_fault
from kernel.paging.segments import map_ldt_page
from kernel.state.vcpu import Vcpu
from kernel.x86.bits import PFEC_FETCH, PFEC_PRESENT, PFEC_RESERVED, PFEC_USER, PFEC_WRITE
from kernel.x86.perdomain import LDT_WINDOW_BYTES, ldt_window


def page_fault_fixup(v: Ptr[Vcpu], address: u64, error_code: Tainted[u32]) -> bool:
    """Repair a page fault of a guest, or deliver it in another form than the processor reported.

    Returns: whether it is dealt with; if not, the guest's kernel gets it as it is.
    """
    if not guest_address_okay(address):
        return error_code & (PFEC_USER | PFEC_RESERVED) == 0 and fix_ldt_fault(
            v, address, error_code
        )
    if not v.kernel_mode or error_code & (PFEC_WRITE | PFEC_PRESENT) != PFEC_WRITE | PFEC_PRESENT:
        return False
    if error_code & (PFEC_RESERVED | PFEC_FETCH) != 0:
        return False
    return emulate_table_write(v, address)


@noinline
def fix_ldt_fault(v: Ptr[Vcpu], address: u64, error_code: Tainted[u32]) -> bool:
    """Map the page of the LDT that the processor wanted to look into; the guest gets a fault of its
    own LDT's address if it can't be.
    """
    window = ldt_window(v)
    if address < window or address >= window + LDT_WINDOW_BYTES:
        return False
    with v.domain.page_lock:
        if map_ldt_page(v, address - window):
            return True
    deliver_page_fault(v, wrapping_add(v.ldt_base, address - window), error_code)
    return True
