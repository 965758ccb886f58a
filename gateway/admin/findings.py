"""/site/findings: what `predictd doctor` finds on the machine of the gateway."""

import msgspec

from gateway.admin.routing import route
from gateway.admin.schemas import Json
from gateway.control import Control
from gateway.operations.machine_check import MachineCheck


class FindingRoutes:
    def __init__(self, control: Control) -> None:
        self._check = MachineCheck(control.data.root, control.tasks)

    @route.get(
        "/site/findings",
        "site.administer",
        "show what the last check of the machine has found; the first one begins now",
    )
    async def show(self) -> Json:
        return self._json()

    @route.post(
        "/site/findings:refresh",
        "site.administer",
        "begin a check of the machine, as `predictd doctor` makes it",
        audit="site.check",
    )
    async def check(self) -> Json:
        self._check.begin()
        return self._json()

    def _json(self) -> Json:
        state: Json = msgspec.to_builtins(self._check.state)
        return state
