"""The generated ABI, which in a checkout is not on the path of xm."""

import sys
from pathlib import Path

try:
    import xen_codecs as abi
except ImportError:
    sys.path.append(str(Path(__file__).parents[2] / "build" / "gen"))
    import xen_codecs as abi

__all__ = ["abi"]
