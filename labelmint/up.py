"""`labelmint up`: the whole service on this machine, until Ctrl-C."""

import time

from rich.console import Console
from rich.panel import Panel

from labelmint.serving import RunningService, serving
from service.settings import Settings
from service.stores import absolute_url

_CHECK_S = 0.3


def up(settings: Settings, console: Console) -> None:
    """Serve until SIGINT or SIGTERM. Raises `UserError` if a part does not start or keeps dying."""
    console.print("starting …")
    try:
        with serving(settings) as service:
            console.print(_panel(service, settings))
            while True:
                service.check()
                time.sleep(_CHECK_S)
    except KeyboardInterrupt:
        console.print("stopped")


def _panel(service: RunningService, settings: Settings) -> Panel:
    lines = [
        f"[bold]{service.url}/[/]      jobs, projects and generators",
        f"[bold]{service.url}/docs[/]  the API",
        "",
        f"store    {absolute_url(settings.store_url)}",
        f"redis    {'a private one' if settings.redis_url is None else 'LABELMINT_REDIS_URL'}",
        f"workers  {settings.workers}, on {settings.device}",
        f"logs     {service.logs}",
    ]
    if service.resumed:
        lines.append(f"resumed  {service.resumed} unfinished job{'s' if service.resumed > 1 else ''}")
    return Panel("\n".join(lines), title="labelmint", subtitle="Ctrl-C stops everything", expand=False)
