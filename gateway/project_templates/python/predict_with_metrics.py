"""As predict.py, and tracks the input and output of each prediction.

Deployed, it answers {"model_deployment_crn", "prediction", "uuid"}. By the uuid the actual width
can be added later: see use_model_metrics.py.
"""

import pickle

import cdsw

with open("model.pkl", "rb") as file:
    model = pickle.load(file)


@cdsw.model_metrics
def predict(args):
    """{"petal_length": centimetres} gives the width in centimetres."""
    cdsw.track_metric("input", args)
    petal_length = float(args["petal_length"])
    width = model.predict([[petal_length]])[0]
    cdsw.track_metric("predict_result", width)
    return width
