"""How far tests of the model search: `make test` as long as it is worth while anybody waits for it,
`make test-long` with HYPOTHESIS_PROFILE=deep.
"""

import os

import hypothesis

IS_DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
MORE_EXAMPLES, MORE_STEPS = 25, 2  # how many times as many, if so


def settings(examples, steps):
    """Settings of a state machine, which tests marked `deep` use."""
    return hypothesis.settings(
        max_examples=examples * MORE_EXAMPLES if IS_DEEP else examples,
        stateful_step_count=steps * MORE_STEPS if IS_DEEP else steps,
        deadline=None,
        phases=[phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
