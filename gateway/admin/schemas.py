"""What the admin API takes and gives: the outer spelling, which is CDSW's.

Requests are Structs that json_body.py reads. Replies are made from records here and nowhere else.
`environment` is a JSON string in replies, as clients expect, and an object or such a string in
requests; numbers of ours (`build_number`, `deployment_number`, ...) are plain numbers.
"""

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from gateway.control.variables import ShownVariables
from gateway.crn import crn
from gateway.errors import Refusal
from store import Build, Deployment, Experiment, Failure, Model, Project, Step, User, Visibility
from workers import Network, PoolStatistics

Json = dict[str, Any]
# Checked to be JSON, and kept as its text.
AnyJson = msgspec.Raw
Variables = Annotated[dict[str, str], msgspec.Meta(max_length=1000)]
# What the database has room for; what makes sense is checked by what it is for.
Amount = Annotated[int, msgspec.Meta(le=2**31 - 1)]
Metrics = Annotated[dict[str, AnyJson], msgspec.Meta(max_length=1000)]


# For one clone: taken, and never told.
KeyText = Annotated[str, msgspec.Meta(max_length=16 * 1024, extra_json_schema={"writeOnly": True})]


def _null() -> msgspec.Raw:
    return msgspec.Raw(b"null")


class CreateProject(msgspec.Struct, kw_only=True):
    """`git_key`, an OpenSSH private key without a passphrase, and `git_host_key`, lines of
    known_hosts or `type base64`, are used for the clone over ssh and stored nowhere."""

    granted: ClassVar[dict[str, str]] = {"default_project_engine_type": "ml_runtime"}
    name: str
    description: str = ""
    visibility: Visibility = "private"
    template: str = ""
    git_url: str = ""
    git_ref: str = ""
    git_key: KeyText = ""
    git_host_key: KeyText = ""
    path: str = ""
    environment: Variables = {}
    secrets: Variables = {}


class UpdateProject(msgspec.Struct, kw_only=True, omit_defaults=True):
    read_only: ClassVar[tuple[str, ...]] = (
        *("id", "number", "template", "git_url", "git_ref", "path", "linked", "creator", "owner"),
        *("environment_problem", "creation_status", "creation_error", "created_at", "updated_at"),
    )
    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    visibility: Visibility | msgspec.UnsetType = msgspec.UNSET
    environment: Variables | msgspec.UnsetType = msgspec.UNSET
    secrets: Variables | msgspec.UnsetType = msgspec.UNSET


class CreateDeployment(msgspec.Struct, kw_only=True):
    """`cpu` in cores, `memory` in GB; what is left out is the model's default. With `network`
    "none" the replicas reach nothing but their callers, with "outward" other machines too, but
    nothing of this one, with "listen" they may listen on TCP ports, which with "machine" they may
    not."""

    cpu: float | None = None
    memory: float | None = None
    nvidia_gpus: Amount = 0
    replicas: Amount | None = None
    network: Network = "machine"
    environment: Variables = {}
    secrets: Variables = {}


class CreateBuild(msgspec.Struct, kw_only=True):
    file_path: str
    function_name: str
    kernel: str = ""
    comment: str = ""
    runtime_identifier: str = ""
    model_root_dir: str = ""
    build_script_path: str = ""
    network: Network = "machine"
    example: AnyJson = msgspec.field(default_factory=_null)  # null: no example
    auto_deploy_model: bool = False
    auto_deployment_config: CreateDeployment | None = None


class CreateModel(msgspec.Struct, kw_only=True):
    name: str
    description: str = ""
    disable_authentication: bool = False
    auth_enabled: bool = True
    visibility: Visibility = "private"
    auto_build_model: bool = False
    auto_build_config: CreateBuild | None = None


class Resources(msgspec.Struct, kw_only=True):
    cpu_millicores: Amount | msgspec.UnsetType = msgspec.UNSET
    memory_mb: Amount | msgspec.UnsetType = msgspec.UNSET


class ReplicationPolicy(msgspec.Struct, kw_only=True):
    type: Literal["fixed"] = "fixed"
    num_replicas: Amount | msgspec.UnsetType = msgspec.UNSET


class UpdateModel(msgspec.Struct, kw_only=True, omit_defaults=True):
    read_only: ClassVar[tuple[str, ...]] = (
        *("id", "model_number", "creator", "access_key", "deletion_status", "created_at", "crn"),
        *("updated_at", "project", "url", "status", "example", "replicas_wanted", "replicas_ready"),
        *("current_deployment_id", "current_deployment_number", "current_build_number"),
    )
    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    visibility: Visibility | msgspec.UnsetType = msgspec.UNSET
    auth_enabled: bool | msgspec.UnsetType = msgspec.UNSET
    default_resources: Resources = msgspec.field(default_factory=Resources)
    default_replication_policy: ReplicationPolicy = msgspec.field(default_factory=ReplicationPolicy)

    def changes(self) -> Json:
        """The fields of the record that it changes."""
        named = {
            "name": self.name,
            "description": self.description,
            "visibility": self.visibility,
            "auth_enabled": self.auth_enabled,
            "cpu_millicores": self.default_resources.cpu_millicores,
            "memory_mb": self.default_resources.memory_mb,
            "replicas": self.default_replication_policy.num_replicas,
        }
        return {name: value for name, value in named.items() if value is not msgspec.UNSET}


class CreateExperiment(msgspec.Struct, kw_only=True):
    """`script` is a file of the project; `cpu` in cores, `memory` in GB."""

    script: str
    arguments: Annotated[list[str], msgspec.Meta(max_length=1000)] = []
    kernel: str = ""
    runtime_identifier: str = ""
    comment: str = ""
    cpu: float | None = None
    memory: float | None = None
    network: Network = "machine"


class AddToProject(msgspec.Struct, kw_only=True):
    """`path` of a file that an experiment kept; without a `target` it has the same in the
    project."""

    path: str
    target: str = ""


def scaled(name: str, value: float | None, factor: int, default: int) -> int:
    """An amount in a smaller unit, the default where none is said. Raises Refusal."""
    if value is None:
        return default
    if not 0 < value < 1e6:
        raise Refusal("argument.invalid", f"{name}: {value:g} is not a sensible amount")
    return max(1, round(value * factor))


def creator(name: str) -> Json:
    """Who made something, as they were called then."""
    return {"username": name, "name": name, "email": f"{name}@localhost"}


def user_json(user: User) -> Json:
    return {
        "username": user.name,
        "name": user.full_name or user.name,
        "email": user.email,
        "administrator": user.administrator,
        "disabled": user.disabled,
        "has_password": bool(user.password),
        "must_change_password": user.must_change_password,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
    }


def variables_json(shown: ShownVariables) -> Json:
    """`environment` is a text, as CDSW's is; of `secrets` only the names are ever told."""
    return {
        "environment": msgspec.json.encode(shown.environment).decode(),
        "secrets": shown.secrets,
        "environment_problem": shown.problem,
    }


def project_json(
    project: Project, owner: User | None, variables: ShownVariables, *, with_path: bool
) -> Json:
    """`variables` are empty for those who may not change them. The path is of this machine."""
    return {
        "id": project.id,
        "number": project.number,
        "name": project.name,
        "description": project.description,
        "visibility": project.visibility,
        "template": project.template,
        "git_url": project.git_url,
        "git_ref": project.git_ref,
        "path": project.path if with_path else "",
        "linked": project.linked,
        **variables_json(variables),
        "creation_status": project.creation_status,
        "creation_error": project.creation_error,
        "creator": creator(project.creator),
        "owner": creator(owner.name if owner else ""),
        "created_at": project.created_at,
        "updated_at": project.updated_at,
    }


def model_json(
    model: Model,
    project: Project,
    access_key: str,
    url: str,
    deployment: Deployment | None,
    status: str,
    statistics: PoolStatistics | None,
    example: str | None,
    workspace: str,
) -> Json:
    return {
        "id": model.id,
        "model_number": model.number,
        "name": model.name,
        "description": model.description,
        "creator": creator(model.creator),
        "access_key": access_key,
        "auth_enabled": model.auth_enabled,
        "visibility": model.visibility,
        "deletion_status": "",
        "created_at": model.created_at,
        "updated_at": max(model.updated_at, deployment.updated_at if deployment else ""),
        "crn": crn(workspace, model.id),
        "project": {"id": project.id, "name": project.name},
        "default_resources": {
            "cpu_millicores": model.cpu_millicores,
            "memory_mb": model.memory_mb,
            "nvidia_gpus": 0,
        },
        "default_replication_policy": {"num_replicas": model.replicas, "type": "fixed"},
        "url": url,
        "status": status,
        "current_deployment_id": deployment.id if deployment else "",
        "current_deployment_number": deployment.number if deployment else None,
        "current_build_number": deployment.build_number if deployment else None,
        "replicas_wanted": deployment.replicas if deployment else 0,
        "replicas_ready": statistics.ready if statistics else 0,
        "example": msgspec.Raw(example.encode()) if example else None,
    }


def failure_json(failure: Failure | None) -> Json | None:
    return msgspec.structs.asdict(failure) if failure else None


def build_json(build: Build, steps: list[Step], workspace: str) -> Json:
    return {
        "id": build.id,
        "build_number": build.number,
        "model_id": build.model_id,
        "creator": creator(build.creator),
        "comment": build.comment,
        "file_path": build.file,
        "function_name": build.function,
        "kernel": build.kernel or build.interpreter,
        "runtime_identifier": build.interpreter,
        "model_root_dir": build.model_root,
        "build_script_path": build.script,
        "network": build.network,
        "example": msgspec.Raw(build.example.encode()) if build.example else None,
        "snapshot": build.snapshot,
        "status": build.status,
        "steps": [msgspec.structs.asdict(step) for step in steps],
        "failure": failure_json(build.failure),
        "crn": crn(workspace, build.id),
        "created_at": build.created_at,
        "updated_at": build.updated_at,
        "built_at": build.built_at,
    }


def deployment_json(
    deployment: Deployment,
    statistics: PoolStatistics | None,
    waiting_for: str,
    workspace: str,
    variables: ShownVariables,
) -> Json:
    return {
        "id": deployment.id,
        "deployment_number": deployment.number,
        "model_id": deployment.model_id,
        "build_id": deployment.build_id or "",
        "build_number": deployment.build_number,
        "project_id": deployment.project_id,
        "cpu": deployment.cpu_millicores / 1000,
        "memory": deployment.memory_mb / 1024,
        "nvidia_gpu": 0,
        "replicas": deployment.replicas,
        "replicas_ready": statistics.ready if statistics else 0,
        "network": deployment.network,
        **variables_json(variables),
        "wanted": deployment.wanted,
        "status": deployment.status,
        "waiting_for": waiting_for,
        "failure": failure_json(deployment.failure),
        "deployer": creator(deployment.deployer),
        "crn": crn(workspace, deployment.id),
        "created_at": deployment.created_at,
        "updated_at": deployment.updated_at,
        "deployed_at": deployment.deployed_at,
        "stopped_at": deployment.stopped_at,
    }


def experiment_json(experiment: Experiment, metrics: Json, waiting_for: str) -> Json:
    return {
        "id": experiment.id,
        "experiment_number": experiment.number,
        "project_id": experiment.project_id,
        "creator": creator(experiment.creator),
        "comment": experiment.comment,
        "script": experiment.script,
        "arguments": experiment.arguments,
        "kernel": experiment.kernel or experiment.interpreter,
        "runtime_identifier": experiment.interpreter,
        "cpu": experiment.cpu_millicores / 1000,
        "memory": experiment.memory_mb / 1024,
        "network": experiment.network,
        "snapshot": experiment.snapshot,
        "status": experiment.status,
        "waiting_for": waiting_for,
        "exit_status": experiment.exit_status,
        "failure": failure_json(experiment.failure),
        "metrics": metrics,
        "created_at": experiment.created_at,
        "updated_at": experiment.updated_at,
        "started_at": experiment.started_at,
        "ended_at": experiment.ended_at,
    }
