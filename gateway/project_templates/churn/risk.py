"""What the model says of a customer: used where it is fitted and where it is served."""

import math


def risk_of(model, features):
    """The risk that a customer with these features leaves, from 0 to 1."""
    leaning = model["bias"]
    for name, weight in model["weights"].items():
        leaning += weight * (features[name] - model["mean"][name]) / model["spread"][name]
    return 1 / (1 + math.exp(-leaning))
