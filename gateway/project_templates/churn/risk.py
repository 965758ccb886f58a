"""The risk that a customer leaves: used by fit.py and predict.py."""

import math


def risk_of(model, features):
    """The risk that a customer with these features leaves, from 0 to 1."""
    leaning = model["bias"]
    for name, weight in model["weights"].items():
        leaning += weight * (features[name] - model["mean"][name]) / model["spread"][name]
    return 1 / (1 + math.exp(-leaning))
