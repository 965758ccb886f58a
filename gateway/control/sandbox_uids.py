"""Whose a confined process is, as a number: those of equal numbers could meddle with each other."""

from uuid import UUID

from store import Deployment, Experiment, Project, Runtime

# The identities below are those of deployments, by their numbers.
_BUILDERS = 50_000_000
_EXPERIMENTS = 75_000_000
_RUNTIMES = 90_000_000
_SESSIONS = 95_000_000
# What makes the seeds of environments, which all projects share.
OF_SEEDS = 99_999_999


def of_deployment(deployment: Deployment) -> int:
    """Of its replicas."""
    return deployment.number


def of_builds(project: Project) -> int:
    """Of a project's builds and their probes, which share a cache."""
    return _BUILDERS + project.number


def of_experiment(experiment: Experiment) -> int:
    """Of its script."""
    return _EXPERIMENTS + experiment.number


def of_runtime(runtime: Runtime) -> int:
    """Of the program that installs its packages."""
    return _RUNTIMES + runtime.number


def of_session(session_id: str) -> int:
    """Of what is tried, and of shells. Ids are random, and few sessions are open at once."""
    return _SESSIONS + UUID(session_id).int % 4_000_000
