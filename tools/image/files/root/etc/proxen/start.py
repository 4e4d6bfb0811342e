"""Starts a daemon: `start.py NAME [FILE]` imports the package NAME and, once FILE exists, runs it.

Importing takes seconds under TCG, so a daemon that needs another one imports while that one starts.
"""

import importlib
import os
import sys
import time

name, *needs = sys.argv[1:]
module = importlib.import_module(f"{name}.__main__")
while not all(os.path.exists(file) for file in needs):
    time.sleep(0.02)
sys.argv = [name]
sys.exit(module.main())
