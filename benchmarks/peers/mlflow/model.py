"""`add` as MLflow's "model from code"."""

import mlflow
from mlflow.pyfunc import PythonModel


class Add(PythonModel):
    def predict(self, context, model_input, params=None):
        return (model_input["a"] + model_input["b"]).tolist()


mlflow.models.set_model(Add())
