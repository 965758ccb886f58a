"""Pools: replicas in slots, and the fair queue before them."""
