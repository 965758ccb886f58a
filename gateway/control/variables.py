"""The environment variables that builds, experiments and models see: site, project, deployment.

The later wins. `CDSW_*` names are those that projects written for CDSW read; they win over all,
since they are facts and not settings. Nothing of the gateway's own environment is in here.

The URLs among them are for requests from this machine. Behind a proxy they are not the public one:
its name may lead nowhere from here. `PREDICTD_PUBLIC_URL` is for what is shown to people.
"""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.data_folder import ExperimentFolder
from gateway.errors import Refusal
from gateway.settings import Settings, check_variables
from store import Deployment, Experiment, Project


class Reach(NamedTuple):
    """Where the gateway is reached: `public` by clients, `inner` by what runs on this machine."""

    public: str
    inner: str


# They say which engine runs: a build's id, a replica's name.
NAME_VARIABLES = ("CDSW_ENGINE_ID", "CDSW_MASTER_ID")


def check(variables: dict[str, str]) -> None:
    """Raises Refusal("argument.invalid") naming a variable that no process could have."""
    try:
        check_variables(variables)
    except ValueError as error:
        raise Refusal("argument.invalid", f"environment: {error}") from error


def build_variables(
    settings: Settings, reach: Reach, project: Project, engine: str
) -> dict[str, str]:
    """What `cdsw-build.sh` sees: no deployment's variables, since a build serves many of them.
    `engine` is what is built."""
    facts = _facts(reach, project) | {"CDSW_ENGINE_TYPE": "build"}
    facts |= dict.fromkeys(NAME_VARIABLES, engine)
    return {**settings.environment, **project.environment, **facts}


def model_variables(
    settings: Settings, reach: Reach, project: Project, deployment: Deployment | None
) -> dict[str, str]:
    """What a replica sees; without a deployment, what a probe of a build does."""
    own = deployment.environment if deployment else {}
    facts = _facts(reach, project) | {"CDSW_ENGINE_TYPE": "model"}
    return {**settings.environment, **project.environment, **own, **facts}


def experiment_variables(
    settings: Settings,
    reach: Reach,
    project: Project,
    experiment: Experiment,
    folder: ExperimentFolder,
) -> dict[str, str]:
    """What the script of an experiment sees."""
    facts = _facts(reach, project) | {
        "CDSW_ENGINE_TYPE": "experiment",
        "CDSW_EXPERIMENT_ID": experiment.id,
        "CDSW_OUTPUT_DIR": str(folder.outputs),
        "PREDICTD_RUN_METRICS": str(folder.metrics),
        **dict.fromkeys(NAME_VARIABLES, experiment.id),
    }
    # What is printed is followed live.
    own = {"PYTHONUNBUFFERED": "1"}
    return {**own, **settings.environment, **project.environment, **facts}


def _facts(reach: Reach, project: Project) -> dict[str, str]:
    base = f"{reach.inner}/api"
    return {
        "CDSW_DOMAIN": urlsplit(reach.inner).netloc,
        "PREDICTD_PUBLIC_URL": reach.public,
        "CDSW_API_URL": f"{base}/v1",
        "CDSW_DS_API_URL": f"{base}/altus-ds-1/ds",
        # Clients take the user from here: the seventh part between slashes.
        "CDSW_PROJECT_URL": f"{base}/v1/projects/{project.creator}/{slug(project.name)}",
        "CDSW_PROJECT": slug(project.name),
        "CDSW_PROJECT_ID": project.id,
        "CDSW_PROJECT_NUM": str(project.number),
    }


def slug(name: str) -> str:
    """A name as it can stand in a URL or a replica's name: "Add Two!" -> "add-two"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "x"
