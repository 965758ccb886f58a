"""Returns the width of an iris petal from its length, with the model of fit.py."""

import pickle

# Once per replica: module code runs before the first request.
with open("model.pkl", "rb") as file:
    model = pickle.load(file)


def predict(args):
    """{"petal_length": centimetres} gives the width in centimetres."""
    petal_length = float(args["petal_length"])
    return model.predict([[petal_length]])[0]
