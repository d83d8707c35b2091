"""`/`: the service at a glance, for people with a browser."""

import base64
import re
import time
from hashlib import sha256
from math import ceil
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.dependencies import PartsDep
from service.problems import RETRY_AFTER_S
from service.routes.health import faults
from service.status_page import status_page

router = APIRouter()

_REFRESH_S = 2
_HOST = re.compile(r"[\w.:\[\]-]+", re.ASCII)
_HERE = Path(__file__).parent
_STYLE = (_HERE / "page.css").read_text()
_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; img-src 'self'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def _here(link: str) -> str:
    """The link of a view as seen from the page, wherever a proxy puts that."""
    return link.removeprefix("/")


_environment = Environment(
    loader=FileSystemLoader(_HERE),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters["here"] = _here
_template = _environment.get_template("page.html")


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
def show_page(request: Request, parts: PartsDep) -> HTMLResponse:
    """Jobs, projects, generators and health as a page that needs no script; 503 where it says that a part is out."""
    began = time.perf_counter()
    page = status_page(parts, [fault.field for fault in faults(parts) if fault.field])
    text = _template.render(
        page=page,
        style=_STYLE,
        refresh_s=refresh_s(time.perf_counter() - began) if page.will_change else None,
        address=_address(request),
    )
    unavailable = {"Retry-After": str(RETRY_AFTER_S)} if page.out else {}
    return HTMLResponse(text, 503 if page.out else 200, _HEADERS | unavailable)


def refresh_s(took_s: float) -> int:
    """After how many seconds a browser asks again: rarer where the page, having many jobs to list, takes long."""
    return max(_REFRESH_S, ceil(4 * took_s))


def _address(request: Request) -> str:
    """Where the client finds the service, for commands to type in: nothing in it means anything to a shell."""
    host = request.headers.get("host", "")
    known = host if _HOST.fullmatch(host) else "127.0.0.1:8000"
    return f"{request.scope['scheme']}://{known}{request.scope.get('root_path', '')}"
