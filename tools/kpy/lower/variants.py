"""Other versions of functions, compiled beside them: at most one is in force.

    program = kpy.jit.load("kernel.frames.frame", variants={
        "kernel.frames.frame.put_frame": "tests.unit.versions.forget_frame",
    })
    program.use_version("kernel.frames.frame.put_frame")  # from now on its other version is called
    program.use_version(None)

So one compilation serves many tests of "what if this function were wrong".
"""

from kpy.check import typed
from kpy.front.types import BOOL, NONE, u32
from kpy.lower import variant_switch


class Variants:
    """The pass: each function with another version first asks whether that one is in force."""

    def __init__(self, pairs):
        """`pairs`: by the dotted name of a function, the instance of its other version."""
        self.instances = dict(pairs)
        self.numbers = {name: i for i, name in enumerate(self.instances, 1)}

    def __call__(self, name, instance):
        """Rewrite the checked body of the function of a name."""
        if name not in self.instances:
            return
        at, body = instance.function.tree, instance.body
        chosen = typed.StaticRef(at, u32, variant_switch.chosen)
        number = typed.Const(at, u32, self.numbers[name])
        arguments = [typed.Local(at, var.type, var) for var in body.params]
        call = typed.Call(at, instance.result, self.instances[name], arguments)
        then = [typed.Return(at, call)]
        if instance.result is NONE:
            then = [typed.Evaluate(at, call), typed.Return(at, None)]
        test = typed.Compare(at, BOOL, [chosen, number], ["=="])
        body.statements.insert(0, typed.If(at, test, then, []))
