"""The website as a whole: its pages and static files, its error pages, the check of sessions."""

from collections.abc import Callable

from quart import Request, Response, request
from quart_trio import QuartTrio

from gateway.control import Control
from gateway.errors import API_PREFIX, Refusal
from gateway.identity.session_cookie import session_in
from gateway.route_declaration import routes_of
from gateway.web.admin import AdminPages
from gateway.web.admin_activity import AdminActivityPages
from gateway.web.admin_models import AdminModelPages
from gateway.web.admin_runtimes import AdminRuntimePages
from gateway.web.admin_settings import AdminSettingPages
from gateway.web.admin_users import AdminUserPages
from gateway.web.builds import BuildPages
from gateway.web.collaborators import CollaboratorPages
from gateway.web.csrf import SAFE_METHODS, TOKEN_HEADER, check_origin, check_token
from gateway.web.deployments import DeploymentPages
from gateway.web.events import EventPages
from gateway.web.experiments import ExperimentPages
from gateway.web.files import FilePages
from gateway.web.home import HomePages
from gateway.web.keys import KeyPages
from gateway.web.metrics import MetricPages
from gateway.web.model_settings import ModelSettingsPages
from gateway.web.models import ModelPages
from gateway.web.monitoring import MonitoringPages
from gateway.web.new_model import NewModelPages
from gateway.web.project_models import ProjectModelPages
from gateway.web.project_settings import ProjectSettingPages
from gateway.web.projects import ProjectPages
from gateway.web.rendering import rendering
from gateway.web.routing import Page, PageRouter
from gateway.web.search import SearchPages
from gateway.web.settings import SettingsPages
from gateway.web.short_addresses import ShortAddressPages
from gateway.web.sign_in import SignInPages
from gateway.web.styleguide import StyleguidePages

_FOREVER = "public, max-age=31536000, immutable"


NOUNS = (
    HomePages,
    SignInPages,
    KeyPages,
    SettingsPages,
    ProjectPages,
    ProjectModelPages,
    FilePages,
    CollaboratorPages,
    ProjectSettingPages,
    SearchPages,
    ModelPages,
    ShortAddressPages,
    NewModelPages,
    ModelSettingsPages,
    MonitoringPages,
    MetricPages,
    AdminPages,
    AdminUserPages,
    AdminActivityPages,
    AdminModelPages,
    AdminRuntimePages,
    AdminSettingPages,
    BuildPages,
    DeploymentPages,
    ExperimentPages,
    EventPages,
    StyleguidePages,
)
PAGES = routes_of(Page, *NOUNS)


class Website:
    """All pages."""

    def __init__(self, control: Control, calls: Callable[[], int]) -> None:
        """`calls` returns how many calls of models were answered."""
        self._rendering = rendering()
        self.router = PageRouter(control, self._rendering, calls)
        self._nouns = [noun(control, self.router) for noun in NOUNS]

    def register(self, app: QuartTrio) -> None:
        self.router.register(app, self._nouns)

        @app.get("/static/<name>")
        async def static(name: str) -> Response:
            file = self._rendering.files.get(name)
            if file is None:
                raise Refusal("route.notfound", f"there is nothing at {request.path}")
            response = Response(file.content, content_type=file.content_type)
            if request.args.get("v") == file.version:
                response.headers["Cache-Control"] = _FOREVER
            return response

    async def refuse(self, refused: Refusal, request_id: str) -> Response | None:
        """The page of an error for a browser; None for a program."""
        # Named explicitly: programs send `*/*`.
        wanted = "text/html" in request.headers.get("Accept", "")
        if request.path.startswith(API_PREFIX) or not wanted:
            return None
        return await self.router.refuse(refused, request_id)


def check_session_request(request: Request, public_url: str) -> None:
    """For requests to the admin API with a cookie: raises Refusal for a change that no page of this
    gateway has sent."""
    if request.method not in SAFE_METHODS:
        check_origin(request.headers.get, public_url)
        token = session_in(request.cookies, request.is_secure)
        check_token(token, request.headers.get(TOKEN_HEADER, ""))
