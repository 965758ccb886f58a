"""`add` as Flask's documentation writes a JSON endpoint."""

from flask import Flask, request

app = Flask(__name__)


def add(args):
    return args["a"] + args["b"]


@app.post("/predict")
def predict():
    return {"result": add(request.get_json())}
