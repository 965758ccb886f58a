"""Saves the model where `mlflow models serve` looks for it."""

import sys

import mlflow

mlflow.pyfunc.save_model(sys.argv[1], python_model="model.py", pip_requirements=[])
