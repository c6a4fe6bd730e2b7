"""A second set of reports, met when the rules had been worked on with the first."""

from experiments.blind.case import CASES
from experiments.blind.later import (  # noqa: F401  which enter theirs
    agents,
    attention,
    generators,
    gradients,
    pictures,
    recurrent,
    relations,
    tables,
)

LATER = [name for name, case in CASES.items() if case.make.__module__.startswith(f"{__name__}.")]
