"""The `labelmint` command: which commands there are, and nothing of what they do."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from labelmint.bears import app as bears
from labelmint.generator import app as generator
from labelmint.user_error import UserError, redis_url_or_error, settings_or_error

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Turn 50 or fewer labeled images into a labeled dataset of any size.",
)
app.add_typer(generator, name="generator")
app.add_typer(bears, name="bears")

_console = Console()

_Parent = Annotated[int | None, typer.Option("--parent", hidden=True, help="Process to end with")]


@app.command()
def up(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 picks a free one")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="How many worker processes")] = None,
) -> None:
    """Run the whole service on this machine until Ctrl-C."""
    from labelmint.up import up as run

    given = {"port": port, "workers": workers}
    settings = settings_or_error().model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    run(settings, _console)


@app.command()
def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535)] = None,
    parent: _Parent = None,
) -> None:
    """Serve the API. Needs LABELMINT_REDIS_URL."""
    import uvicorn

    from service.app import create_app
    from workers.lifeline import die_with_parent

    settings = settings_or_error()
    redis_url_or_error(settings)
    if parent is not None:
        die_with_parent(parent)
    uvicorn.run(
        create_app(settings),
        host=host or settings.host,
        port=settings.port if port is None else port,
        timeout_graceful_shutdown=3,
        log_level="info",
    )


@app.command()
def worker(parent: _Parent = None) -> None:
    """Do the jobs' work, one part at a time. Needs LABELMINT_REDIS_URL."""
    from service.redis_client import connect
    from workers.lifeline import die_with_parent

    settings = settings_or_error()
    redis_url = redis_url_or_error(settings)
    if parent is not None:
        die_with_parent(parent)

    from service.log import configure_logging
    from workers.publish import prepare_in_child
    from workers.worker import work

    configure_logging()
    try:
        prepare_in_child(settings)
    except RuntimeError as failure:
        raise UserError(str(failure)) from None
    work(settings, connect(redis_url))


@app.command()
def recover() -> None:
    """Enqueue every unfinished job again, after Redis was lost. Needs LABELMINT_REDIS_URL."""
    from service.ledger import Ledger
    from service.queue import JobQueue
    from service.redis_client import connect
    from service.stores import open_store
    from workers.recover import recover as take_up

    settings = settings_or_error()
    connection = connect(redis_url_or_error(settings))
    store = open_store(settings.store_url, settings.s3_endpoint_url)
    jobs = take_up(Ledger(store, connection, settings.job_ttl_s), JobQueue(connection, settings))
    _console.print(f"{jobs} unfinished job{'' if jobs == 1 else 's'} enqueued")


@app.command()
def demo(
    count: Annotated[int, typer.Option(min=1, help="Samples to generate")] = 200,
    seeds: Annotated[int, typer.Option(min=1, max=50, help="Labeled toy bears to start from")] = 50,
    data: Annotated[Path, typer.Option(help="Where the service keeps its files and the results go")] = Path("data"),
) -> None:
    """Show the main job: labeled toy bears in, a labeled dataset out, over the service's own API."""
    from labelmint.demo import demo as run

    if count > settings_or_error().max_count:
        raise UserError(f"--count: at most {settings_or_error().max_count} samples")
    run(settings_or_error(), _console, count=count, seeds=seeds, data=data)
