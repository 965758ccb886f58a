"""The smallest model there is: what a request costs beside it is ours."""


def add(args):
    return args["a"] + args["b"]
