"""The environment variables that builds, experiments and models see: site, project, deployment.

A later level overrides an earlier one. Projects written for CDSW read the `CDSW_*` names. These
override all others, since they are facts and not settings. The gateway's own environment is not
passed on.

The URLs are for requests from this machine. Behind a proxy the public URL may not be reachable from
here. `PREDICTD_PUBLIC_URL` is for text that is shown to users.

A change takes effect for builds, experiments and deployments that begin later: a deployment that
serves keeps its variables until it is deployed again.

The variables of projects and deployments are encrypted: the store has bytes, and `secret.key`
decrypts them. Secrets can be set but not read back: only processes get their values.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from gateway.control.runtime_settings import RuntimeSettings
from gateway.control.user_variables import (
    NAME_VARIABLES,
    NO_VARIABLES,
    ShownVariables,
    VariableChanges,
    Variables,
    combine,
    named_changes,
)
from gateway.data_folder import ExperimentFolder
from gateway.encryption import CannotDecrypt, Encryption
from store import Deployment, Experiment, Project

logger = logging.getLogger(__name__)

# The kinds of the ciphertexts.
_KINDS = {Project: "project variables", Deployment: "deployment variables"}


class GatewayUrls(NamedTuple):
    """The gateway's URLs: `public` for clients, `local` for processes on this machine."""

    public: str
    local: str


def id_of_variables(encryption: Encryption, variables: Mapping[str, str]) -> str:
    """A hash of variables. Keyed: from a plain one, values could be guessed."""
    return encryption.keyed_hash("variables", msgspec.json.encode(sorted(variables.items())))


class ProcessVariables:
    """Encrypts and decrypts the variables of users, and composes the environment of processes."""

    def __init__(
        self, *, encryption: Encryption, settings: RuntimeSettings, urls: GatewayUrls
    ) -> None:
        self._encryption = encryption
        self._settings = settings
        self._urls = urls

    def encrypt(
        self,
        kind: type[Project] | type[Deployment],
        owner: str,
        new: Variables,
    ) -> bytes:
        """The ciphertext for the record with the id `owner`."""
        if new == NO_VARIABLES:
            return b""
        return self._encryption.encrypt(_KINDS[kind], owner, msgspec.json.encode(new))

    def decrypt(self, owner: Project | Deployment) -> Variables:
        """The variables that users have set for a record. Raises CannotDecrypt."""
        if not owner.variables:
            return NO_VARIABLES
        plaintext = self._encryption.decrypt(_KINDS[type(owner)], owner.id, owner.variables)
        return msgspec.json.decode(plaintext, type=Variables)

    def encrypt_changes(self, project: Project, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The changes of a project with `environment` and `secrets` replaced by the encrypted
        `variables`. Variables that cannot be decrypted are replaced as a whole. Raises Refusal."""
        before, others = self._before(project), dict(changes)
        new = combine(others.pop("environment", None), others.pop("secrets", {}), before)
        return {**others, "variables": self.encrypt(Project, project.id, new)}

    def changed(self, project: Project, changes: VariableChanges) -> bytes:
        """The ciphertext of a project's variables after the changes. Variables that cannot be
        decrypted are replaced as a whole. Raises Refusal."""
        new = changes.applied_to(self._before(project))
        return self.encrypt(Project, project.id, new)

    def names_changed(self, project: Project, changes: VariableChanges | Mapping[str, Any]) -> str:
        """Which variables of the project change, for the audit log. Raises Refusal."""
        before = self._before(project)
        if isinstance(changes, VariableChanges):
            return named_changes(before, changes.applied_to(before))
        new = combine(changes.get("environment"), changes.get("secrets", {}), before)
        return named_changes(before, new)

    def _before(self, project: Project) -> Variables:
        try:
            return self.decrypt(project)
        except CannotDecrypt as error:
            logger.warning("variables.replaced project=%s: %s", project.id, error)
            return NO_VARIABLES

    def problem_of(self, project: Project, deployment: Deployment) -> str:
        """Why the variables of a deployment cannot be decrypted; "" if they can be."""
        problems = (self.shown(owner).problem for owner in (project, deployment))
        return next(filter(None, problems), "")

    def shown(self, owner: Project | Deployment) -> ShownVariables:
        """The variables as a response to an editor has them."""
        try:
            found = self.decrypt(owner)
        except CannotDecrypt as error:
            return ShownVariables(problem=str(error))
        return ShownVariables(environment=found.plain, secrets=sorted(found.secrets))

    def set_by_users(self, project: Project) -> dict[str, str]:
        """The variables of site and project. Raises CannotDecrypt, as the methods below do."""
        return {**self._settings.current.environment, **self.decrypt(project).merged()}

    def id_of_build_variables(self, project: Project) -> str:
        """A keyed hash of what each build of the project sees now. Raises CannotDecrypt."""
        return id_of_variables(self._encryption, self.of_build(project, ""))

    def of_build(self, project: Project, build_id: str) -> dict[str, str]:
        """What `cdsw-build.sh` sees: no deployment's variables, since one build serves many
        deployments."""
        facts = self._facts(project) | {"CDSW_ENGINE_TYPE": "build"}
        facts |= dict.fromkeys(NAME_VARIABLES, build_id)
        return {**self.set_by_users(project), **facts}

    def of_model(self, project: Project, deployment: Deployment | None) -> dict[str, str]:
        """What a replica sees; without a deployment, what the probe of a build sees."""
        own = self.decrypt(deployment).merged() if deployment else {}
        facts = self._facts(project) | {"CDSW_ENGINE_TYPE": "model"}
        return {**self.set_by_users(project), **own, **facts}

    def of_experiment(
        self, project: Project, experiment: Experiment, folder: ExperimentFolder
    ) -> dict[str, str]:
        """What the script of an experiment sees."""
        facts = self._facts(project) | {
            "CDSW_ENGINE_TYPE": "experiment",
            "CDSW_EXPERIMENT_ID": experiment.id,
            "CDSW_OUTPUT_DIR": str(folder.outputs),
            "PREDICTD_RUN_METRICS": str(folder.metrics),
            **dict.fromkeys(NAME_VARIABLES, experiment.id),
        }
        # Users follow the output live.
        own = {"PYTHONUNBUFFERED": "1"}
        return {**own, **self.set_by_users(project), **facts}

    def _facts(self, project: Project) -> dict[str, str]:
        base = f"{self._urls.local}/api"
        return {
            "CDSW_DOMAIN": urlsplit(self._urls.local).netloc,
            "PREDICTD_PUBLIC_URL": self._urls.public,
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
