"""Fits the risk that a customer leaves, and leaves the model in model.json.

Run it as an experiment: the metrics and model.json are kept with the run. Beside the weights the
model remembers how each feature was distributed, with which follow.py compares what it gets to see.
"""

import json
import math

import cdsw
import customers
import measures
from risk import risk_of

known, unseen = customers.make(2000, seed=1), customers.make(1000, seed=2)
model = {"mean": {}, "spread": {}, "cuts": {}, "shares": {}, "weights": {}, "bias": 0.0}
for name in customers.FEATURES:
    values = [features[name] for features, _ in known]
    mean = sum(values) / len(values)
    cuts = measures.fifths(values)
    model["mean"][name] = mean
    model["spread"][name] = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))
    model["cuts"][name], model["shares"][name] = cuts, measures.shares(values, cuts)
    model["weights"][name] = 0.0

# Logistic regression, downhill in steps.
for _ in range(100):
    steps, step = dict.fromkeys(customers.FEATURES, 0.0), 0.0
    for features, left in known:
        error = risk_of(model, features) - left
        step += error
        for name in customers.FEATURES:
            steps[name] += error * (features[name] - model["mean"][name]) / model["spread"][name]
    model["bias"] -= 2 * step / len(known)
    for name in customers.FEATURES:
        model["weights"][name] -= 2 * steps[name] / len(known)

risks = [risk_of(model, features) for features, _ in unseen]
auc = measures.auc(risks, [left for _, left in unseen])
print("auc", auc)
cdsw.track_metric("auc", auc)
cdsw.track_metric("customers", len(known))

with open("model.json", "w") as file:
    json.dump(model, file, indent=1)
cdsw.track_file("model.json")
