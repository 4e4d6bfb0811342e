"""The hypervisor's trace rings, from dom0: switch them, map them, read them.

What is read has the form of a file of Xen's `xentrace`: before the records of a processor comes
TRC_TRACE_CPU_CHANGE with its number and their size in bytes.
Source: Xen public ABI 4.17, trace.h; sysctl.h, xen_sysctl_tbuf_op.
"""

import struct
from array import array

import xen_codecs as abi

from xen.privcmd import PAGE_SIZE, HypercallError
from xen.sysctl import tbuf_op

HEADER_BYTES = 8  # sizeof(t_buf)
CPU_CHANGE = struct.Struct("<III")
CPU_CHANGE_HEADER = abi.TRC_TRACE_CPU_CHANGE | 2 << abi.TRACE_EXTRA_SHIFT


class BadRing(Exception):
    """A ring makes no sense; somebody else writes to it."""


class Ring:
    """One processor's ring: mapped memory that begins with a t_buf."""

    def __init__(self, cpu, mapping):
        self.cpu, self.mapping = cpu, mapping
        self.words = mapping.view[:HEADER_BYTES].cast("I")  # cons, prod
        self.data = mapping.view[HEADER_BYTES:]
        self.size = len(self.data)

    def skip(self):
        """Forget what is in the ring."""
        self.words[0] = self.words[1]

    def read(self):
        """Take all records out; returns their bytes.

        Errors: BadRing.
        """
        cons, prod = self.words
        used = (prod - cons) % (2 * self.size)
        if max(cons, prod) >= 2 * self.size or used > self.size:
            raise BadRing(f"the trace ring of processor {self.cpu} has {cons=}, {prod=}")
        start = cons % self.size
        end = min(start + used, self.size)
        records = bytes(self.data[start:end]) + bytes(self.data[: used - (end - start)])
        self.words[0] = prod
        return records

    def close(self):
        """Unmap the ring."""
        self.words.release()
        self.data.release()
        self.mapping.close()


class TraceBuffers:
    """All rings, made if there are none. `pages` is the size of each, perhaps not the one wanted:
    the hypervisor sets it once.

    Errors: HypercallError.
    """

    def __init__(self, xc, pages):
        self.xc = xc
        info = tbuf_op(xc, abi.XEN_SYSCTL_TBUFOP_get_info)
        if not info.buffer_mfn:
            tbuf_op(xc, abi.XEN_SYSCTL_TBUFOP_set_size, size=pages)
            info = tbuf_op(xc, abi.XEN_SYSCTL_TBUFOP_get_info)
        self.rings = []
        try:
            self._map(info)
        except HypercallError:
            self.close()
            raise

    def _map(self, info):
        """Map t_info for as long as it takes, and each ring that it names."""
        first = info.buffer_mfn
        frames = array("Q", range(first, first + info.size // PAGE_SIZE))
        with self.xc.map_foreign(abi.DOMID_XEN, frames, writable=False) as mapping:
            t_info = bytes(mapping.view)
        self.pages = struct.unpack_from("<H", t_info)[0]
        first_offset = struct.unpack_from("<H", t_info, 2)[0]
        # The offsets end where the first list of frames begins, at the latest.
        for cpu in range(first_offset * 2 - 1):
            offset = struct.unpack_from("<H", t_info, 2 + 2 * cpu)[0]
            if offset == 0:
                break
            mfns = array("Q", struct.unpack_from(f"<{self.pages}I", t_info, offset * 4))
            self.rings.append(Ring(cpu, self.xc.map_foreign(abi.DOMID_XEN, mfns)))

    def start(self, event_mask):
        """Start recording events of a mask, with empty rings."""
        tbuf_op(self.xc, abi.XEN_SYSCTL_TBUFOP_disable)
        for ring in self.rings:
            ring.skip()
        tbuf_op(self.xc, abi.XEN_SYSCTL_TBUFOP_set_evt_mask, evt_mask=event_mask)
        tbuf_op(self.xc, abi.XEN_SYSCTL_TBUFOP_enable)

    def stop(self):
        """Stop recording.

        Called again after `read`, it makes the hypervisor report what was lost last: now there is
        room for that.
        """
        tbuf_op(self.xc, abi.XEN_SYSCTL_TBUFOP_disable)

    def read(self):
        """Return what the rings hold, as part of a trace file. Errors: BadRing."""
        parts = []
        for ring in self.rings:
            if records := ring.read():
                parts += [CPU_CHANGE.pack(CPU_CHANGE_HEADER, ring.cpu, len(records)), records]
        return b"".join(parts)

    def close(self):
        """Unmap the rings; harmless when repeated."""
        for ring in self.rings:
            ring.close()
        self.rings = []
