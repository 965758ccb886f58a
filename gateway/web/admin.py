"""/admin: Site Administration, with its overview and the health of the system.

A page of /admin is for site administrators: `routing.py` refuses others before the page asks for
anything, and each call of the API checks the right again.
"""

from typing import Any

from quart import Response

from gateway.control import Control
from gateway.web import routing
from gateway.web.home_items import attention
from gateway.web.routing import PageRequest, PageRouter, redirect

PATH = "/admin"
# In the order of CDSW.
TABS = (
    (PATH, "Overview"),
    (f"{PATH}/users", "Users"),
    (f"{PATH}/activity", "Activity"),
    (f"{PATH}/models", "Models"),
    (f"{PATH}/runtimes", "Runtimes"),
    (f"{PATH}/security", "Security"),
    (f"{PATH}/settings", "Settings"),
)
_REFRESH = 5.0  # seconds; the use of CPU and memory changes without the database
_CHECKING = 1.0
_LATEST = 10
_MOST = 1000  # models that are looked at
_WORST = ("missing", "warning", "ok")


def admin_frame(tab: str) -> dict[str, Any]:
    """The values of a page of /admin."""
    return {"here": PATH, "tabs": TABS, "tab": tab}


def totals(models: list[dict[str, Any]]) -> dict[str, Any]:
    """What all active models have reserved and use together."""
    return {
        "models": len(models),
        "replicas_ready": sum(each["replicas_ready"] for each in models),
        "replicas_wanted": sum(each["replicas_wanted"] for each in models),
        "requested_cpu": sum(each["requested"]["cpu"] for each in models),
        "used_cpu": sum(each["used"]["cpu"] or 0 for each in models),
        "requested_memory": sum(each["requested"]["memory_bytes"] for each in models),
        "used_memory": sum(each["used"]["memory_bytes"] for each in models),
        "requested_gpus": sum(each["requested"]["gpus"] for each in models),
        "used_gpus": sum(each["used"]["gpus"] for each in models),
    }


class AdminPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(PATH, "show the totals of the site")
    async def overview(self, page: PageRequest) -> Response:
        frame = admin_frame(PATH)
        site = await page.api.get("/site")
        models = await page.api.items("/site/models", "models")
        all_models = await page.api.get("/models", page_size=_MOST, sort="-updated_at")
        entries = (await page.api.get("/audit", page_size=_LATEST))["entries"]
        return await self._router.reply(
            "admin/overview.html",
            page.viewer,
            **frame,
            site=site,
            totals=totals(models),
            attention=[each for each in attention(all_models["models"]) if each.tone != "busy"],
            entries=entries[::-1],
            refresh=_REFRESH,
        )

    @routing.get(f"{PATH}/security", "show isolation, disk and versions")
    async def security(self, page: PageRequest) -> Response:
        frame = admin_frame(f"{PATH}/security")
        site = await page.api.get("/site")
        runtimes = await page.api.items("/runtimes", "runtimes")
        check = await page.api.get("/site/findings")
        return await self._router.reply(
            "admin/security.html",
            page.viewer,
            **frame,
            site=site,
            interpreters=[each for each in runtimes if not each["version"]],
            check=check,
            findings=sorted(check["findings"], key=lambda each: _WORST.index(each["state"])),
            refresh=_CHECKING if check["checking"] else _REFRESH,
        )

    @routing.post(
        f"{PATH}/security/check",
        "check the machine of the gateway",
        audit="site.check",
        needs="site.administer",
    )
    async def check(self, page: PageRequest) -> Response:
        await page.api.post("/site/findings:refresh")
        return redirect(f"{PATH}/security")
