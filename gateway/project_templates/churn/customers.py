"""Makes up customers of a telephone company. Your project has real ones instead.

Long-standing customers rarely leave; those who pay much or call support often do. `price_rise`
changes what customers pay, and so the input of the model.
"""

import math
import random

FEATURES = ("months", "monthly_charge", "support_calls")


def make(count, seed, price_rise=0.0):
    """So many pairs: a customer's features, and whether the customer left (1) or not (0)."""
    chance = random.Random(seed)
    pairs = []
    for _ in range(count):
        months = chance.randint(1, 72)
        monthly_charge = round(chance.gauss(70, 20) + price_rise, 2)
        support_calls = min(9, int(chance.expovariate(0.7)))
        leaning = -1.0 - 0.05 * months + 0.03 * (monthly_charge - 70) + 0.6 * support_calls
        left = chance.random() < 1 / (1 + math.exp(-leaning))
        features = (months, monthly_charge, support_calls)
        pairs.append((dict(zip(FEATURES, features)), int(left)))
    return pairs
