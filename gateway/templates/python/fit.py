"""Fits petal width to petal length on the iris data and leaves the model in model.pkl."""

import pickle

from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_squared_error, r2_score

# The columns: sepal length, sepal width, petal length, petal width, in centimetres.
measurements = load_iris().data
lengths, widths = measurements[:, 2:3], measurements[:, 3]

model = LinearRegression().fit(lengths, widths)
fitted = model.predict(lengths)

print("mean_sq_err", mean_squared_error(widths, fitted))
print("r2", r2_score(widths, fitted))

with open("model.pkl", "wb") as file:
    pickle.dump(model, file)
