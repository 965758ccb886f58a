"""Models whose requests or replies are large, while the function itself does next to nothing."""

RECORD = {"id": 12345, "name": "a short text", "value": 0.123456789, "flags": [True, False, None]}
_made = {}


def take(args):
    """Counts the records it was sent."""
    return len(args)


def give(args):
    """Returns so many records; made once, so that what is timed is their way out."""
    count = args["records"]
    if count not in _made:
        _made[count] = [RECORD] * count
    return _made[count]
