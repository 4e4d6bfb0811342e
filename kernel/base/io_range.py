"""A stretch of device memory that a domain may map; apart from the operations so that
`kernel.state.domain` can embed it.
"""

from kpy import struct, u64

MAX_IO_RANGES = 16


@struct
class IoRange:
    """Frames `first` to `end` - 1; empty when `end` is 0."""

    first: u64
    end: u64
