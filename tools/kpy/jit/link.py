"""The JIT's last stage: from LLVM text and the wrappers around it to code in this process."""

import itertools

import llvmlite.binding as llvm

from kpy.emit import backend
from kpy.jit import cache as jit_cache
from kpy.jit import calls as jit_calls

HOST_TRIPLE = "x86_64-unknown-linux-gnu"
HOST_FEATURES = "+cx16,+popcnt"
_serial = itertools.count()
_alive = []  # what must not be freed while code runs


def assemble(text, defined, extra):
    """Put the text and the wrappers together, without declarations of what the latter define."""
    dropped = tuple(f'@"{symbol}"(' for symbol in [*defined, "kpy_panic"])
    lines = [
        line
        for line in text.splitlines()
        if not (line.startswith("declare ") and any(d in line for d in dropped))
    ]
    intrinsic = "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)"
    lines = [line for line in lines if line != intrinsic]
    parts = [
        *lines[:2],
        jit_calls.module_assembly(),
        *lines[2:],
        intrinsic,
        jit_calls.SUPPORT,
        *extra,
    ]
    return "\n".join(parts)


def run(text):
    """Bring the text into this process, compiled; return the function from symbols to addresses."""
    names, code = jit_cache.load(text, lambda: _compile_text(text))
    target = backend.machine(HOST_TRIPLE, HOST_FEATURES, "large")
    engine = _engine(target)
    library = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    for name in names:
        library.export_symbol(name)
    tracker = library.link(engine, f"kpy{next(_serial)}")
    _alive.append((engine, tracker))
    addresses = {name: tracker[name] for name in names}
    return lambda name: addresses.get(name, 0)


def _compile_text(text):
    """Compile: the symbols, and the object file."""
    module, target = backend.optimise(text, HOST_TRIPLE, HOST_FEATURES, "large")
    return _symbols(module), target.emit_object(module)


def _engine(target):
    return llvm.create_lljit_compiler(target, suppress_errors=False, use_jit_link=False)


def _symbols(module):
    defined = [v for v in [*module.functions, *module.global_variables] if not v.is_declaration]
    return [*(v.name for v in defined if v.linkage == llvm.Linkage.external), "kpy.try"]
