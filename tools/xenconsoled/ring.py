"""The console page that a guest shares: a ring for its output and one for its input.

The guest may write anything to the page at any time. An index that makes no sense (more in the ring
than it can hold) is answered by skipping to the producer: the guest loses its own text and nobody
else is harmed.
Source: Xen public ABI, io/console.h, xencons_interface.
"""

import xen_codecs as abi

_FIELD = abi.xencons_interface
_IN, _OUT = _FIELD.in_.offset, _FIELD.out.offset
IN_BYTES, OUT_BYTES = _FIELD.in_.size, _FIELD.out.size
_IN_CONS, _IN_PROD = _FIELD.in_cons.offset // 4, _FIELD.in_prod.offset // 4
_OUT_CONS, _OUT_PROD = _FIELD.out_cons.offset // 4, _FIELD.out_prod.offset // 4


class ConsoleRing:
    """Both rings of one console. `page` is a memoryview of the shared page."""

    def __init__(self, page):
        self.page = page
        self.words = page.cast("I")

    def read(self):
        """Take all that the guest has printed."""
        start, end = self.words[_OUT_CONS], self.words[_OUT_PROD]
        count = (end - start) & 0xFFFFFFFF
        if count > OUT_BYTES:
            self.words[_OUT_CONS] = end
            return b""
        offset = start % OUT_BYTES
        first = min(count, OUT_BYTES - offset)
        head = bytes(self.page[_OUT + offset : _OUT + offset + first])
        data = head + bytes(self.page[_OUT : _OUT + count - first])
        self.words[_OUT_CONS] = end
        return data

    def write(self, data):
        """Offer input to the guest; returns how many bytes found room."""
        start = self.words[_IN_PROD]
        used = (start - self.words[_IN_CONS]) & 0xFFFFFFFF
        if used > IN_BYTES:
            return len(data)
        count = min(len(data), IN_BYTES - used)
        offset = start % IN_BYTES
        first = min(count, IN_BYTES - offset)
        self.page[_IN + offset : _IN + offset + first] = data[:first]
        self.page[_IN : _IN + count - first] = data[first:count]
        self.words[_IN_PROD] = (start + count) & 0xFFFFFFFF
        return count

    def close(self):
        """Let go of the page."""
        self.words.release()
