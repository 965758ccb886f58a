"""Returns the risk that a customer leaves, and tracks the input of each prediction."""

import json

from cml.metrics_v1 import track_metric
from cml.models_v1 import cml_model
from risk import risk_of

with open("model.json") as file:
    model = json.load(file)


@cml_model(metrics=True)
def predict(args):
    """{"months", "monthly_charge", "support_calls"} of a customer give {"risk"}, from 0 to 1."""
    risk = risk_of(model, args)
    for name in model["weights"]:
        track_metric(name, args[name])
    track_metric("risk", risk)
    return {"risk": risk}
