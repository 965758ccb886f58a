"""Fits petal width to petal length on the iris data and leaves the model in model.pkl.

Run it as an experiment: the metrics and model.pkl are kept with the run.
"""

import pickle

import cdsw
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.model_selection import train_test_split

# The columns: sepal length, sepal width, petal length, petal width, in centimetres.
measurements = load_iris().data
lengths, widths = measurements[:, 2:3], measurements[:, 3]
known_lengths, new_lengths, known_widths, new_widths = train_test_split(
    lengths, widths, test_size=0.2, random_state=7
)

model = LinearRegression().fit(known_lengths, known_widths)
guessed = model.predict(new_lengths)
mean_sq_err = mean_squared_error(new_widths, guessed)
r2 = r2_score(new_widths, guessed)

print("mean_sq_err", mean_sq_err)
print("r2", r2)
cdsw.track_metric("mean_sq_err", mean_sq_err)
cdsw.track_metric("r2", r2)

with open("model.pkl", "wb") as file:
    pickle.dump(model, file)
cdsw.track_file("model.pkl")
