"""Models whose requests or replies are large, while the function itself does next to nothing."""

_made = {}


def take(args):
    """Counts the records it was sent."""
    return len(args)


def give(args):
    """Returns so many copies of a record; the list is made once: what is timed is its way out."""
    count = args["count"]
    if count not in _made:
        _made[count] = [args["record"]] * count
    return _made[count]
