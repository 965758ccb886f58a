"""Deploying, stopping, restarting, building and deleting in any order and at once.

Hypothesis thinks of the orders; nothing is waited for between two wishes. Afterwards the records,
the processes and the answers have to agree.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from gateway.client import ApiError, Json
from tests.faults.bench import ECHO
from tests.faults.conftest import Observe
from tests.faults.matrix import fault
from tests.support.polling import until
from tests.support.served_gateway import (
    UNFINISHED,
    Gateway,
    at,
    write,
)

# What may be answered to a wish that came too late or too early.
REFUSALS = {"state.conflict", "model.notfound", "build.notfound", "deployment.notfound"}


class Storm(RuleBasedStateMachine):
    """One model at a time, of one gateway that lives through all orders."""

    gateway: Gateway
    project: Json
    wishes = 0

    def __init__(self) -> None:
        super().__init__()
        self.model = self.gateway.model(self.project, "echo")
        self.build = self.gateway.build(self.model, "echo.py", "echo")
        self.deployments: list[Json] = []
        self.is_deleted = False

    def ask(self, path: str, body: Any = None) -> Json | None:
        type(self).wishes += 1
        try:
            return self.gateway.client.post(f"{at(self.model)}/{path}", body)
        except ApiError as error:
            if error.code not in REFUSALS:
                raise
            return None

    @rule()
    def deploy(self) -> None:
        if made := self.ask(f"builds/{self.build['id']}/deployments", {"replicas": 1}):
            self.deployments.append(made)

    @rule()
    def build_and_deploy(self) -> None:
        wish = {"file_path": "echo.py", "function_name": "echo", "auto_deploy_model": True}
        self.ask("builds", wish)

    @precondition(lambda self: self.deployments)
    @rule()
    def stop(self) -> None:
        self.ask(f"builds/{self.build['id']}/deployments/{self.deployments[-1]['id']}:stop")

    @precondition(lambda self: self.deployments)
    @rule()
    def restart(self) -> None:
        self.ask(f"builds/{self.build['id']}/deployments/{self.deployments[0]['id']}:restart")

    @precondition(lambda self: not self.is_deleted and self.deployments)
    @rule()
    def delete(self) -> None:
        self.gateway.client.delete(at(self.model))
        self.is_deleted = True
        assert self.gateway.call(self.model, 1).status == 401

    def teardown(self) -> None:
        if not self.is_deleted:
            until(self.has_settled, 60)
            self.gateway.client.delete(at(self.model))
        until(lambda: not self.gateway.processes())
        assert self.gateway.call(self.model, 1).status == 401

    def has_settled(self) -> bool:
        """Whether nothing is under way; then all must agree."""
        found = self.gateway.client.listing(f"{at(self.model)}/deployments")
        builds = self.gateway.client.listing(f"{at(self.model)}/builds")
        if any(each["status"] in UNFINISHED for each in [*found, *builds]):
            return False
        serving = [each for each in found if each["status"] == "deployed"]
        assert len(serving) <= 1
        assert self.gateway.call(self.model, 1).status == (200 if serving else 503)
        return True


def storms(root: Path, orders: int, length: int) -> int:
    """Runs so many orders of so many wishes; how many wishes that were."""
    with Gateway(root / "data") as gateway:
        project = gateway.project(write(root / "p", {"echo.py": ECHO}))
        known: dict[str, Any] = {"gateway": gateway, "project": project, "wishes": 0}
        storm = type("ThisStorm", (Storm,), known)
        run_state_machine_as_test(
            storm,
            settings=settings(
                max_examples=orders,
                stateful_step_count=length,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        wishes: int = storm.wishes  # type: ignore[attr-defined]
        return wishes


@fault(
    "wishes that overtake each other",
    injection="deploy, build, stop, restart, delete in orders of hypothesis', none waited for",
    bound="one deployment serves or none does, as the records say; nothing is left of the deleted",
)
def test_storm_ends_consistent(observe: Observe) -> None:
    """After random operations in random order records, processes and answers agree in the end."""
    with TemporaryDirectory() as folder:
        observe(f"{storms(Path(folder), 2, 6)} wishes")


@pytest.mark.soak
@fault(
    "wishes that overtake each other, for long", injection="the same, 40 orders", bound="as above"
)
def test_long_storm_ends_consistent(observe: Observe) -> None:
    """After many random operations in random order records, processes and answers agree in the
    end."""
    with TemporaryDirectory() as folder:
        observe(f"{storms(Path(folder), 40, 15)} wishes")
