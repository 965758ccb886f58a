"""Deployments: the rollout of a build, and what it takes of the machine."""
