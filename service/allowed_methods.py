"""Which methods an address answers, whichever of its routes they are of."""

from starlette.requests import Request
from starlette.routing import Match, Mount

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def allowed_methods(request: Request, known: str) -> str:
    """An `Allow` header for the request's address; `known` is that of the one route that refused the method."""
    # A mount matches whatever the method, so what it allows is only told by itself.
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    scope = {"type": "http", "path_params": {}, "headers": []}
    scope |= {name: request.scope.get(name, "") for name in ("path", "root_path")}
    answered = {
        method
        for method in _METHODS
        if any(route.matches(scope | {"method": method})[0] is Match.FULL for route in routes)
    }
    answered |= {method.strip() for method in known.split(",") if method.strip()}
    return ", ".join(method for method in _METHODS if method in answered)
