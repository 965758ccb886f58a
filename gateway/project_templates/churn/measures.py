"""The quality of a model, and the drift of its input: two numbers, in plain Python."""

import math
from bisect import bisect_right


def auc(risks, truths):
    """The chance that a customer who left had a higher risk than one who stayed; 0.5 is random."""
    left = [risk for risk, truth in zip(risks, truths) if truth]
    stayed = [risk for risk, truth in zip(risks, truths) if not truth]
    if not left or not stayed:
        return None
    wins = sum((a > b) + (a == b) / 2 for a in left for b in stayed)
    return wins / (len(left) * len(stayed))


def fifths(values):
    """The four values that cut these into fifths."""
    ordered = sorted(values)
    return [ordered[len(ordered) * cut // 5] for cut in (1, 2, 3, 4)]


def shares(values, cuts):
    """Which part of the values lies between which cuts. No part is quite 0."""
    counts = [0.5] * (len(cuts) + 1)
    for value in values:
        counts[bisect_right(cuts, value)] += 1
    return [count / sum(counts) for count in counts]


def drift(shares_then, shares_now):
    """The population stability index: 0 where nothing moved; from 0.25 on, look into it.

    Some hundredths come by chance alone: with 5 parts of 200 values about 0.02.
    """
    pairs = list(zip(shares_then, shares_now))
    return sum((now - then) * math.log(now / then) for then, now in pairs)
