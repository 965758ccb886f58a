"""Follows whether the model is right: predictions, the truth that comes later, and what they make.

    python3 use_model_metrics.py                              tries it out, in memory
    python3 use_model_metrics.py DEPLOYMENT_CRN ACCESS_KEY    by the deployed model

Deploy predict_with_metrics.py for this. The crn and the access key are on the model's page. For a
model that asks who calls, a model API key is the third argument, if CDSW_APIV2_KEY is not set.
"""

import sys
import time

import cdsw
from sklearn.datasets import load_iris

dev = len(sys.argv) < 3
if dev:
    from predict_with_metrics import predict

    model_deployment_crn = cdsw.dev_model_deployment_crn
else:
    model_deployment_crn, model_access_key = sys.argv[1:3]
    model_api_token = sys.argv[3] if len(sys.argv) > 3 else None


def ask(args):
    """One prediction with its uuid, by the deployed model or by its function here."""
    if dev:
        return predict(args)
    return cdsw.call_model(model_access_key, args, model_api_token)["response"]


def now():
    return int(time.time() * 1000)


# 20 flowers, from all over the data.
flowers = load_iris().data[::7][:20]

# The time of the server's clock may differ a little from ours.
start_timestamp_ms = now() - 1000
answers = [(ask({"petal_length": float(flower[2])}), flower) for flower in flowers]
end_timestamp_ms = now() + 1000

# Later the flowers are measured. Each actual width is added to its prediction.
for answer, flower in answers:
    cdsw.track_delayed_metrics({"actual_result": float(flower[3])}, answer["uuid"], dev=dev)

# Now predictions and truth are side by side; other calls of the model may be among them.
uuids = {answer["uuid"] for answer, _ in answers}
rows = cdsw.read_metrics(
    model_deployment_crn=model_deployment_crn,
    start_timestamp_ms=start_timestamp_ms,
    end_timestamp_ms=end_timestamp_ms,
    dev=dev,
)["metrics"]
tracked = [row["metrics"] for row in rows if row["predictionUuid"] in uuids]
errors = [metrics["predict_result"] - metrics["actual_result"] for metrics in tracked]
mean_sq_err = sum(error**2 for error in errors) / len(errors)
print(f"{len(tracked)} predictions, mean squared error {mean_sq_err:.4f}")

# What was worked out is kept too, beside the predictions, for this window of time.
cdsw.track_aggregate_metrics(
    {"mean_sq_err": mean_sq_err, "predictions": len(tracked)},
    start_timestamp_ms=start_timestamp_ms,
    end_timestamp_ms=end_timestamp_ms,
    model_deployment_crn=model_deployment_crn,
    dev=dev,
)
