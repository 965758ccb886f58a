"""A model that no Python can read."""


def predict(args)
    return args
