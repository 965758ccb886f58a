"""The smallest possible model: all other costs of a request are predictd's."""


def add(args):
    return args["a"] + args["b"]
