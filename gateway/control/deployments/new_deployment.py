"""What is asked for where a build is to be deployed, and whether it can be."""

import msgspec

from gateway.control.user_variables import Variables, combine
from gateway.errors import Refusal
from workers import Network


class NewDeployment(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. Environment variables are not inherited from earlier deployments, unless
    the caller may not set any (`as_before`)."""

    cpu_millicores: int
    memory_mb: int
    replicas: int
    nvidia_gpus: int = 0
    network: Network = "machine"
    environment: dict[str, str] = {}
    secrets: dict[str, str] = {}

    @property
    def variables(self) -> Variables:
        """Raises Refusal."""
        return combine(self.environment, self.secrets)


def check_deployment(asked: NewDeployment, *, most_replicas: int) -> None:
    """Raises Refusal("argument.invalid") that names the wrong argument."""
    if not 1 <= asked.replicas <= most_replicas:
        raise Refusal(
            "argument.invalid", f"replicas: {asked.replicas} is not from 1 to {most_replicas}"
        )
    if asked.cpu_millicores <= 0:
        raise Refusal("argument.invalid", "cpu: must be more than 0")
    if asked.memory_mb <= 0:
        raise Refusal("argument.invalid", "memory: must be more than 0")
    if asked.nvidia_gpus < 0:
        raise Refusal("argument.invalid", "nvidia_gpus: must not be less than 0")
    combine(asked.environment, asked.secrets)
