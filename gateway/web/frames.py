"""What all pages of a project, or of a model, have: path, heading, state, tabs, rights.

A handler gives the values of a frame to its template, which extends `projects/frame.html` or
`models/frame.html`.
"""

from typing import Any

from gateway.web.api import url
from gateway.web.routing import PageRequest
from gateway.web.states import model_state

Values = dict[str, Any]


async def project_frame(page: PageRequest, project_id: str) -> Values:
    """The values of a page of a project. Raises NotFound for one that the user may not view."""
    project = await page.api.get(url("projects", project_id))
    base = url("projects", project_id)
    tabs = [
        (base, "Overview"),
        (f"{base}/files", "Files"),
        (f"{base}/models", "Models"),
        (f"{base}/experiments", "Experiments"),
        (f"{base}/collaborators", "Collaborators"),
    ]
    if page.may("project.administer", project_id):
        tabs.append((f"{base}/settings", "Settings"))
    return {
        "here": "/projects",
        "project": project,
        "project_base": base,
        "tabs": tabs,
        **_rights(page, project_id),
    }


async def model_frame(page: PageRequest, project_id: str, model_id: str) -> Values:
    """The values of a page of a model. Raises NotFound."""
    model = await page.api.get(url("projects", project_id, "models", model_id))
    base = url("projects", project_id, "models", model_id)
    tabs = [
        (base, "Overview"),
        (f"{base}/deployments", "Deployments"),
        (f"{base}/builds", "Builds"),
        (f"{base}/monitoring", "Monitoring"),
        (f"{base}/metrics", "Metrics"),
        (f"{base}/settings", "Settings"),
    ]
    return {
        "here": "/models",
        "model": model,
        "project": model["project"],
        "project_base": url("projects", project_id),
        "model_base": base,
        "state": model_state(model),
        "tabs": tabs,
        **_rights(page, project_id),
    }


def _rights(page: PageRequest, project_id: str) -> Values:
    """What the user may do, so that a page offers nothing else."""
    return {
        "may_call": page.may("model.call", project_id),
        "may_operate": page.may("model.operate", project_id),
        "may_edit": page.may("project.edit", project_id),
        "may_administer": page.may("project.administer", project_id),
        "may_own": page.may("project.own", project_id),
    }
