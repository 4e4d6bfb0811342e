"""What all front ends do: find the back end in xenstore, follow its state, tell ours. Source: Xen
public ABI, io/xenbus.h.
"""

import abi
from kpy import Slice, struct, u8, u16, u64

from libos.text import TEXT_BYTES, Text, parse_number
from libos.xenbus import (
    NO_TRANSACTION,
    compose,
    composed_text,
    wait_change,
    xenbus_changes,
    xenbus_read,
    xenbus_watch,
    xenbus_write,
)


@struct
class Frontend:
    """A device as xenstore knows it: its own directory, and that of its back end."""

    path: Text
    backend: Text
    backend_id: u16

    def find(self, kind: Slice[u8], device: u64) -> bool:
        """Look the device up, `kind` and number as in `device/vbd/51712`, and watch its back end.

        Returns: False when there is none.
        """
        compose(f"device/{kind}/{device}")
        self.path.put_text(composed_text())
        self.path.finish()
        compose(f"{self.own()}/backend")
        error, backend = xenbus_read(NO_TRANSACTION, composed_text())
        if error < 0 or len(backend) > TEXT_BYTES // 2:
            return False
        self.backend.put_text(backend)
        self.backend.finish()
        compose(f"{self.own()}/backend-id")
        error, domid = xenbus_read(NO_TRANSACTION, composed_text())
        self.backend_id = u16(parse_number(domid, 10))
        compose(f"{self.others()}/state")
        return error == 0 and xenbus_watch(composed_text()) == 0

    def own(self) -> Slice[u8]:
        return self.path.bytes[0 : self.path.length]

    def others(self) -> Slice[u8]:
        return self.backend.bytes[0 : self.backend.length]

    def backend_number(self, name: Slice[u8]) -> u64:
        """Read a number that the back end tells; 0 when it does not."""
        compose(f"{self.others()}/{name}")
        error, value = xenbus_read(NO_TRANSACTION, composed_text())
        return parse_number(value, 10) if error == 0 else 0

    def own_text(self, name: Slice[u8]) -> Slice[u8]:
        """Read what the toolstack says about us, good until the next request; empty if nothing."""
        compose(f"{self.own()}/{name}")
        error, value = xenbus_read(NO_TRANSACTION, composed_text())
        return value if error == 0 else value[0:0]

    def tell_number(self, name: Slice[u8], value: u64) -> None:
        """Write a number for the back end to read."""
        compose(f"{value}")
        text = Text()
        text.put_text(composed_text())
        self.tell_text(name, text.finish())

    def tell_text(self, name: Slice[u8], value: Slice[u8]) -> None:
        compose(f"{self.own()}/{name}")
        assert xenbus_write(NO_TRANSACTION, composed_text(), value) == 0

    def tell_state(self, state: u64) -> None:
        self.tell_number(b"state", state)

    def wait_state(self, wanted: u64) -> bool:
        """Sleep until the back end is in a state.

        Returns: False when it closes instead.
        """
        while True:
            seen = xenbus_changes()
            state = self.backend_number(b"state")
            if state == wanted:
                return True
            if state >= abi.XenbusStateClosing and state <= abi.XenbusStateClosed:
                return False
            wait_change(seen)
