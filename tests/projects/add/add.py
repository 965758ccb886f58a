"""The smallest model there is."""


def add(args):
    return args["a"] + args["b"]
