"""LLVM: from the text of a module to optimised assembly or an object file."""

import functools

import llvmlite.binding as llvm

FEATURES = "-mmx,-sse,-sse2,-sse3,-ssse3,-sse4.1,-sse4.2,-avx,-avx2,-x87,+soft-float,+cx16,+popcnt"
PASSES = "O2, no vectorisation, 1"


def fingerprint():
    """What objects depend on besides the text of their module."""
    return f"{FEATURES} {llvm.llvm_version_info} {PASSES}"


@functools.cache
def machine(triple, features, codemodel="small"):
    """The target machine."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()
    target = llvm.Target.from_triple(triple)
    return target.create_target_machine(
        cpu="x86-64", features=features, opt=2, reloc="pic", codemodel=codemodel
    )


def optimise(text, triple, features=FEATURES, codemodel="small"):
    """Parse, verify and optimise a module at -O2."""
    target = machine(triple, features, codemodel)
    module = llvm.parse_assembly(text)
    module.verify()
    module.data_layout = str(target.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False
    builder = llvm.create_pass_builder(target, options)
    builder.getModulePassManager().run(module, builder)
    return module, target


def compile_object(text, triple):
    """The object file of a module."""
    module, target = optimise(text, triple)
    return target.emit_object(module)


def compile_assembly(text, triple):
    """The assembly of a module, for reading."""
    module, target = optimise(text, triple)
    return target.emit_assembly(module)
