"""Compiled code of earlier runs, by the text that it was compiled from: tests start at once while
what they call is unchanged.
"""

import hashlib
import json
import os
import time

from kpy.emit import backend
from kpy.front.forward import ROOT

FOLDER = os.path.join(ROOT, "build", "jit")
KEPT_S = 3 * 24 * 3600


def load(text, compile_text):
    """Return the symbols and the object file of a text, from an earlier run or compiled now."""
    key = hashlib.sha256(f"{backend.fingerprint()}\n{text}".encode()).hexdigest()
    path = os.path.join(FOLDER, f"{key}.o")
    try:
        with open(path, "rb") as file:
            names = json.loads(file.readline())
            code = file.read()
        os.utime(path)
    except (OSError, ValueError):
        names, code = compile_text()
        _keep(path, json.dumps(names).encode() + b"\n" + code)
    return names, code


def _keep(path, data):
    """Write a file at once, whoever else does so too, and remove those that nobody used lately."""
    os.makedirs(FOLDER, exist_ok=True)
    with open(f"{path}.{os.getpid()}", "wb") as file:
        file.write(data)
    os.replace(file.name, path)
    for entry in os.scandir(FOLDER):
        try:
            if time.time() - entry.stat().st_mtime > KEPT_S:
                os.remove(entry.path)
        except FileNotFoundError:
            continue  # another process was quicker
