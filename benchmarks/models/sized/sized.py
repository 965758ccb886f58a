"""Models with large requests or replies, and functions that do almost nothing."""

_made = {}


def take(args):
    """Counts the records of the request."""
    return len(args)


def give(args):
    """Returns copies of a record. The list is made once: only sending it is timed."""
    count = args["count"]
    if count not in _made:
        _made[count] = [args["record"]] * count
    return _made[count]
