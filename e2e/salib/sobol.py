"""Sobol's indices by SALib, for crates/earnest-sim/tests/it/salib.rs. Values are in SALib's order: for each base point A, A
with each column of B, and B.

    sobol.py ishigami BASES    writes {"factors", "values"} of Ishigami's function at the points of SALib's sampler
    sobol.py agree             reads a list of those with our {"first", "total"}, and fails where they are not SALib's
"""

import json
import sys

import numpy as np
from SALib.analyze import sobol as analyze
from SALib.sample import sobol as sample
from SALib.test_functions import Ishigami

WITHIN = 1e-9


def problem(factors, bound=1.0):
    return {"num_vars": factors, "names": [str(i) for i in range(factors)], "bounds": [[-bound, bound]] * factors}


def ishigami(bases):
    points = sample.sample(problem(3, np.pi), bases, calc_second_order=False, seed=2018)
    return {"factors": 3, "values": Ishigami.evaluate(points).tolist()}


def agree(factors, values, first, total):
    values = np.array(values)
    theirs = analyze.analyze(problem(factors), values, calc_second_order=False, num_resamples=2, seed=1)
    a, b, ab, _ = analyze.separate_output_values(values, factors, len(values) // (factors + 2), False)
    both = np.r_[a, b]
    # The one difference: SALib takes the mean of all values from B's, we that of A and B, which are independent. The total
    # index and the variance that both divide by are alike.
    centred = (values.mean() - both.mean()) * (ab - a[:, None]).mean(axis=0) / both.var()
    for name, ours, theirs in (("first", first, theirs["S1"] + centred), ("total", total, theirs["ST"])):
        worst = np.abs(np.array(ours) - theirs).max()
        assert worst < WITHIN, f"{name}: {worst} from SALib's: {ours} {theirs.tolist()}"
    print(f"{factors} factors as SALib has them; its other mean moves a first index by {np.abs(centred).max():.1e} at most")


if sys.argv[1] == "ishigami":
    json.dump(ishigami(int(sys.argv[2])), sys.stdout)
else:
    for asked in json.load(sys.stdin):
        agree(**asked)
