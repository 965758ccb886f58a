"""Estimates pi by throwing darts at a square; needs nothing but Python."""

import random


def estimate(args):
    """{"darts": number} gives an estimate; more darts, a better one. Without it, 100,000."""
    darts = int(args.get("darts", 100_000))
    hits = sum(random.random() ** 2 + random.random() ** 2 <= 1 for _ in range(darts))
    return 4 * hits / darts


if __name__ == "__main__":
    print(estimate({}))
