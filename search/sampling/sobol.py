"""Configs that fill a space evenly: a scrambled Sobol sequence, one point per trial."""

import threading
import warnings
from typing import Any

import numpy as np
from scipy.stats import qmc as scipy_qmc

from search.asking import Request
from search.sampling.coding import Key, number_at

_one_engine = threading.Lock()
"""SciPy's engines share what they are initialised from."""


def qmc(request: Request) -> tuple[Key, dict[str, Any]]:
    """Take point ``number`` of the sequence (Sobol 1967, doi:10.1016/0041-5553(67)90144-9).

    The scrambling (Owen 1998, doi:10.1145/292395.292424) is the seed's. The point is a function
    of (seed, number): of other trials, running or not, it knows nothing, and the searcher moves
    it away from a config that one of them has. Numbers that others took, such as the reference
    trial's, are points left out. What does not count at a depth is a coordinate without use.
    """
    sequence = np.random.SeedSequence(request.seed)
    with _one_engine, warnings.catch_warnings():
        # Of the balance that only a power of two points has.
        warnings.simplefilter("ignore", UserWarning)
        engine = scipy_qmc.Sobol(
            len(request.kinds), scramble=True, rng=np.random.default_rng(sequence)
        )
        if request.number:
            engine.fast_forward(request.number)
        point = engine.random(1)[0].tolist()
    pairs = zip(request.kinds.values(), point, strict=True)
    return request.prune(tuple(number_at(kind, share) for kind, share in pairs)), {}
