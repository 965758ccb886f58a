"""The website as a whole: its pages and files, and what the rest of the application asks of it."""

from quart import Request, Response, request
from quart_trio import QuartTrio

from gateway.control import Control
from gateway.errors import API_PREFIX, Refusal
from gateway.identity.session_cookie import session_in
from gateway.web import keys, models, sign_in
from gateway.web.csrf import SAFE_METHODS, TOKEN_HEADER, check_origin, check_token
from gateway.web.rendering import Rendering
from gateway.web.routing import PageRouter

_FOREVER = "public, max-age=31536000, immutable"


class Website:
    """All pages. They talk to `control` as the admin API does."""

    def __init__(self, control: Control) -> None:
        self._rendering = Rendering()
        self.routing = PageRouter(control, self._rendering)
        for noun in (models, sign_in, keys):
            noun.add_pages(self.routing, control)

    def register(self, app: QuartTrio) -> None:
        self.routing.register(app)

        @app.get("/static/<name>")
        async def static(name: str) -> Response:
            file = self._rendering.files.get(name)
            if file is None:
                raise Refusal("route.notfound", f"there is nothing at {request.path}")
            response = Response(file.content, content_type=file.content_type)
            if request.args.get("v") == file.version:
                response.headers["Cache-Control"] = _FOREVER
            return response

    def refuse(self, refused: Refusal, request_id: str) -> Response | None:
        """The page that tells somebody with a browser of an error; None for programs."""
        # Said in so many words: `*/*` is what programs send.
        wanted = "text/html" in request.headers.get("Accept", "")
        if request.path.startswith(API_PREFIX) or not wanted:
            return None
        return self.routing.refuse(refused, request_id)


def check_session_request(request: Request, public_url: str) -> None:
    """For the admin API, where nothing but a cookie says who asks: raises Refusal for what would
    change something and was not sent by a page of ours."""
    if request.method not in SAFE_METHODS:
        check_origin(request.headers.get, public_url)
        token = session_in(request.cookies, request.is_secure)
        check_token(token, request.headers.get(TOKEN_HEADER, ""))
