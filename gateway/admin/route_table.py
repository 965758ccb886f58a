"""All routes of the admin API. The table can be read without a control."""

from gateway.admin.audit import AuditRoutes
from gateway.admin.builds import BuildRoutes
from gateway.admin.collaborators import CollaboratorRoutes
from gateway.admin.deployments import DeploymentRoutes
from gateway.admin.experiments import ExperimentRoutes
from gateway.admin.files import FileRoutes
from gateway.admin.findings import FindingRoutes
from gateway.admin.keys import KeyRoutes
from gateway.admin.locks import LockRoutes
from gateway.admin.maintenance import MaintenanceRoutes
from gateway.admin.metric_analysis import MetricAnalysisRoutes
from gateway.admin.metrics import MetricRoutes
from gateway.admin.models import ModelRoutes
from gateway.admin.projects import ProjectRoutes
from gateway.admin.routing.route import AdminRoute
from gateway.admin.runtimes import RuntimeRoutes
from gateway.admin.sessions import SessionRoutes
from gateway.admin.site import SiteRoutes
from gateway.admin.site_models import SiteModelRoutes
from gateway.admin.site_settings import SiteSettingRoutes
from gateway.admin.text_files import TextFileRoutes
from gateway.admin.traffic import TrafficRoutes
from gateway.admin.users import UserRoutes
from gateway.admin.variables import VariableRoutes
from gateway.control import Control
from gateway.http.context import ConnectionStats
from gateway.route_declaration import bound_routes, routes_of

NOUNS = (
    *(ProjectRoutes, CollaboratorRoutes, FileRoutes, TextFileRoutes, ModelRoutes),
    *(BuildRoutes, LockRoutes),
    *(DeploymentRoutes, SessionRoutes, ExperimentRoutes, TrafficRoutes, MetricRoutes),
    MetricAnalysisRoutes,
    *(UserRoutes, KeyRoutes, MaintenanceRoutes, AuditRoutes, RuntimeRoutes, SiteModelRoutes),
    FindingRoutes,
    *(SiteSettingRoutes, VariableRoutes),
)
ROUTES = routes_of(AdminRoute, *NOUNS, SiteRoutes)


def admin_routes(control: Control, connections: ConnectionStats) -> list[AdminRoute]:
    """The routes with handlers that use this control."""
    nouns = [noun(control) for noun in NOUNS]
    return bound_routes(AdminRoute, [*nouns, SiteRoutes(control, connections)])
