#!/usr/bin/env python3
"""Run xm from a checkout; see tools/xm."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "tools"))

from xm.__main__ import main  # noqa: E402

sys.exit(main())
