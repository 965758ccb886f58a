"""A model whose environment lacks what it needs."""

import a_module_that_is_nowhere


def predict(args):
    return a_module_that_is_nowhere.predict(args)
