"""A model that returns what it gets."""


def echo(args):
    return args
