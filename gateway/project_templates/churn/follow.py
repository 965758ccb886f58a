"""Follows the model over three months: is it right, and does it see what it was fitted on?

    python3 follow.py                              tries it out, in memory
    python3 follow.py DEPLOYMENT_CRN ACCESS_KEY    by the deployed predict.py

Each month customers are judged by the model; later it is known who left. In the third month prices
rise: the drift of `monthly_charge` shows it at once, before customers have left. All results
are kept beside the predictions, and read_metrics returns them next year.
"""

import json
import sys
import time

import cdsw
import customers
import measures

dev = len(sys.argv) < 3
if dev:
    from predict import predict

    deployment_crn = cdsw.dev_model_deployment_crn
else:
    deployment_crn, access_key = sys.argv[1:3]

with open("model.json") as file:
    model = json.load(file)


def ask(features):
    if dev:
        return predict(features)
    return cdsw.call_model(access_key, features)["response"]


def now():
    return int(time.time() * 1000)


print("month  predictions    auc  drift of", "  ".join(customers.FEATURES))
for month, price_rise in enumerate((0, 0, 25), 1):
    # The clocks of the server and of this machine may differ a little.
    begin = now() - 1000
    answers = [
        (ask(features)["uuid"], left)
        for features, left in customers.make(200, seed=10 + month, price_rise=price_rise)
    ]
    end = now() + 1000

    # Later the accounts show who has left. The uuids find the predictions.
    for uuid, left in answers:
        cdsw.track_delayed_metrics({"left": left}, uuid, dev=dev)

    rows = cdsw.read_metrics(deployment_crn, begin, end, dev=dev)["metrics"]
    uuids = {uuid for uuid, _ in answers}
    seen = [row["metrics"] for row in rows if row["predictionUuid"] in uuids]
    found = {
        "month": month,
        "predictions": len(seen),
        "auc": measures.auc([row["risk"] for row in seen], [row["left"] for row in seen]),
        "drift": {
            name: measures.drift(
                model["shares"][name],
                measures.shares([row[name] for row in seen], model["cuts"][name]),
            )
            for name in customers.FEATURES
        },
    }
    cdsw.track_aggregate_metrics(found, begin, end, deployment_crn, dev=dev)
    drifts = "  ".join(f"{found['drift'][name]:{len(name)}.3f}" for name in customers.FEATURES)
    print(f"{month:5}  {len(seen):11}  {found['auc']:5.3f}           {drifts}")
