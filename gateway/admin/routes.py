"""All routes of the admin API. The table can be read without a control."""

from gateway.admin.audit import Audit
from gateway.admin.builds import Builds
from gateway.admin.collaborators import Collaborators
from gateway.admin.deployments import Deployments
from gateway.admin.experiments import Experiments
from gateway.admin.files import Files
from gateway.admin.keys import Keys
from gateway.admin.maintenance import Maintenance
from gateway.admin.metrics import MetricRows
from gateway.admin.models import Models
from gateway.admin.projects import Projects
from gateway.admin.routing.route import Route
from gateway.admin.site import Site
from gateway.admin.site_models import SiteModels
from gateway.admin.site_settings import SiteSettings
from gateway.admin.users import Users
from gateway.control import Control
from gateway.http.context import ConnectionStats
from gateway.routes import bound_routes, routes_of

NOUNS = (
    *(Projects, Collaborators, Files, Models, Builds, Deployments, Experiments, MetricRows),
    *(Users, Keys, Maintenance, Audit, SiteModels, SiteSettings),
)
ROUTES = routes_of(Route, *NOUNS, Site)


def admin_routes(control: Control, connections: ConnectionStats) -> list[Route]:
    """The routes with handlers that use this control."""
    nouns = [noun(control) for noun in NOUNS]
    return bound_routes(Route, [*nouns, Site(control, connections)])
