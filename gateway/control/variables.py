"""The environment variables that builds, experiments and models see: site, project, deployment.

The later wins. `CDSW_*` names are those that projects written for CDSW read; they win over all,
since they are facts and not settings. Nothing of the gateway's own environment is in here.

The URLs among them are for requests from this machine. Behind a proxy they are not the public one:
its name may lead nowhere from here. `PREDICTD_PUBLIC_URL` is for what is shown to people.

Projects and deployments keep theirs encrypted: the store has bytes, `secret.key` opens them. Those
that are secrets can be set but not read back: only processes get their values.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

import store
from gateway.control.context import ControlContext
from gateway.data_folder import ExperimentFolder
from gateway.encryption import CannotDecrypt, Encryption
from gateway.errors import Refusal
from gateway.settings import check_variables
from store import Deployment, Experiment, Project

logger = logging.getLogger(__name__)

# They say which engine runs: a build's id, a replica's name.
NAME_VARIABLES = ("CDSW_ENGINE_ID", "CDSW_MASTER_ID")

# The kinds of the ciphertexts.
_KINDS = {Project: "project variables", Deployment: "deployment variables"}


class Variables(msgspec.Struct, frozen=True):
    """What people have set: values that are shown to those who may edit, and secrets, which are
    shown to no one."""

    plain: dict[str, str] = {}
    secrets: dict[str, str] = {}

    def merged(self) -> dict[str, str]:
        """As a process has them. No name is in both."""
        return {**self.plain, **self.secrets}


def _check(variables: Variables) -> None:
    """Raises Refusal("argument.invalid") naming what no process could have, or what is twice."""
    try:
        check_variables(variables.plain)
    except ValueError as error:
        raise Refusal("argument.invalid", f"environment: {error}") from error
    try:
        check_variables(variables.secrets)
    except ValueError as error:
        raise Refusal("argument.invalid", f"secrets: {error}") from error
    if both := sorted(variables.plain.keys() & variables.secrets.keys()):
        text = f"environment: {both[0]} is a secret; remove it from the secrets first"
        raise Refusal("argument.invalid", text)


_NONE = Variables()


def given(
    plain: dict[str, str] | None, secrets: Mapping[str, str], before: Variables = _NONE
) -> Variables:
    """What was there `before`, with `plain` in the place of its plain ones (None: as they were)
    and `secrets` merged into its secrets, of which an empty one removes. Raises Refusal."""
    merged = {name: value for name, value in {**before.secrets, **secrets}.items() if value}
    made = Variables(before.plain if plain is None else plain, merged)
    _check(made)
    return made


def encrypted(
    context: ControlContext, kind: type[Project] | type[Deployment], owner: str, new: Variables
) -> bytes:
    """As the store keeps them for this record."""
    if new == _NONE:
        return b""
    return context.encryption.encrypt(_KINDS[kind], owner, msgspec.json.encode(new))


def replaced(
    context: ControlContext, project: Project, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """The changes of a project, with its new variables as the store keeps them in the place of
    `environment` and `secrets`. Those that cannot be decrypted can be set again. Raises Refusal."""
    try:
        before = set_for(context.encryption, project)
    except CannotDecrypt as error:
        logger.warning("they are replaced: %s", error)
        before = _NONE
    others = dict(changes)
    new = given(others.pop("environment", None), others.pop("secrets", {}), before)
    return {**others, "variables": encrypted(context, Project, project.id, new)}


def set_for(encryption: Encryption, owner: Project | Deployment) -> Variables:
    """What people have set for it. Raises CannotDecrypt."""
    if not owner.variables:
        return _NONE
    plaintext = encryption.decrypt(_KINDS[type(owner)], owner.id, owner.variables)
    return msgspec.json.decode(plaintext, type=Variables)


async def problem_of(context: ControlContext, deployment: Deployment) -> str:
    """Why what people have set for a deployment cannot be decrypted; "" where it can be."""
    project = await context.database.read(store.projects.get, deployment.project_id)
    problems = (shown(context.encryption, owner).problem for owner in (project, deployment))
    return next(filter(None, problems), "")


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What those who may edit see: values, names of secrets, and why there is nothing to see."""

    environment: dict[str, str] = {}
    secrets: list[str] = []
    problem: str = ""


def shown(encryption: Encryption, owner: Project | Deployment) -> Shown:
    """For a reply."""
    try:
        found = set_for(encryption, owner)
    except CannotDecrypt as error:
        return Shown(problem=str(error))
    return Shown(environment=found.plain, secrets=sorted(found.secrets))


def set_by_people(context: ControlContext, project: Project) -> dict[str, str]:
    """Of the site and a project. Raises CannotDecrypt."""
    return {**context.settings.environment, **set_for(context.encryption, project).merged()}


def build_variables(context: ControlContext, project: Project, engine: str) -> dict[str, str]:
    """What `cdsw-build.sh` sees: no deployment's variables, since a build serves many of them.
    `engine` is what is built. Raises CannotDecrypt, as the others do."""
    facts = _facts(context, project) | {"CDSW_ENGINE_TYPE": "build"}
    facts |= dict.fromkeys(NAME_VARIABLES, engine)
    return {**set_by_people(context, project), **facts}


def model_variables(
    context: ControlContext, project: Project, deployment: Deployment | None
) -> dict[str, str]:
    """What a replica sees; without a deployment, what a probe of a build does."""
    own = set_for(context.encryption, deployment).merged() if deployment else {}
    facts = _facts(context, project) | {"CDSW_ENGINE_TYPE": "model"}
    return {**set_by_people(context, project), **own, **facts}


def experiment_variables(
    context: ControlContext, project: Project, experiment: Experiment, folder: ExperimentFolder
) -> dict[str, str]:
    """What the script of an experiment sees."""
    facts = _facts(context, project) | {
        "CDSW_ENGINE_TYPE": "experiment",
        "CDSW_EXPERIMENT_ID": experiment.id,
        "CDSW_OUTPUT_DIR": str(folder.outputs),
        "PREDICTD_RUN_METRICS": str(folder.metrics),
        **dict.fromkeys(NAME_VARIABLES, experiment.id),
    }
    # What is printed is followed live.
    own = {"PYTHONUNBUFFERED": "1"}
    return {**own, **set_by_people(context, project), **facts}


def _facts(context: ControlContext, project: Project) -> dict[str, str]:
    base = f"{context.reach.inner}/api"
    return {
        "CDSW_DOMAIN": urlsplit(context.reach.inner).netloc,
        "PREDICTD_PUBLIC_URL": context.reach.public,
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
