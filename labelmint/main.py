"""The `labelmint` command: which commands there are, and nothing of what they do."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from labelmint.bears import app as bears
from labelmint.generator import app as generator
from labelmint.generator_import import import_checkpoint
from labelmint.publish import publish
from labelmint.user_error import (
    UserError,
    folder_or_error,
    outages_as_errors,
    redis_url_or_error,
    settings_or_error,
    store_or_error,
)
from service.settings import Settings


class _Commands(typer.Typer):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except UserError as error:
            Console(stderr=True).print(f"Error: {error}", markup=False, highlight=False, soft_wrap=True)
            sys.exit(2)


app = _Commands(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Turn 50 or fewer labeled images into a labeled dataset of any size.",
)
generator.command("publish")(publish)
generator.command("import")(import_checkpoint)
app.add_typer(generator, name="generator")
app.add_typer(bears, name="bears")

_console = Console()

_Parent = Annotated[int | None, typer.Option("--parent", hidden=True, help="Process to end with")]


def _settings_of_server(parent: int | None) -> Settings:
    """The settings of a process whose stderr is a log. A parent has the same ones, and has told of them."""
    import structlog

    from service.log import configure_logging

    configure_logging()

    def warn(name: str, nearest: str | None) -> None:
        if parent is None:
            structlog.get_logger(__name__).warning("no such setting", name=name, nearest=nearest)

    return settings_or_error(warn)


@app.command()
def up(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 picks a free one")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="How many worker processes")] = None,
) -> None:
    """Run the whole service on this machine until Ctrl-C."""
    from labelmint.up import up as run

    given = {"port": port, "workers": workers}
    settings = settings_or_error().model_copy(update={key: value for key, value in given.items() if value is not None})
    with outages_as_errors():
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

    settings = _settings_of_server(parent)
    redis_url_or_error(settings)
    store_or_error(settings)
    if parent is not None:
        die_with_parent(parent)
    uvicorn.run(
        create_app(settings),
        host=host or settings.host,
        port=settings.port if port is None else port,
        timeout_graceful_shutdown=3,
        log_level="info",
        log_config=None,  # its lines, too, go where those of the application go
        access_log=False,  # the application writes its own
    )


@app.command()
def worker(parent: _Parent = None) -> None:
    """Do the jobs' work, one part at a time. Needs LABELMINT_REDIS_URL."""
    from service.redis_client import connect
    from workers.allocator import keep_memory
    from workers.lifeline import die_with_parent
    from workers.patience import spin_briefly

    spin_briefly()
    keep_memory()
    settings = _settings_of_server(parent)
    redis_url = redis_url_or_error(settings)
    store_or_error(settings)
    folder_or_error(settings.data_dir)
    if parent is not None:
        die_with_parent(parent)

    from workers.publish import prepare_in_child
    from workers.worker import work

    with outages_as_errors():
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
    from workers.recover import recover as take_up

    settings = settings_or_error()
    connection = connect(redis_url_or_error(settings))
    ledger = Ledger(store_or_error(settings), connection, settings.job_ttl_s)
    with outages_as_errors():
        jobs = take_up(ledger, JobQueue(connection, settings))
    _console.print(f"{jobs} unfinished job{'' if jobs == 1 else 's'} enqueued")


@app.command()
def demo(
    count: Annotated[int, typer.Option(min=1, help="Samples to generate")] = 200,
    seeds: Annotated[int, typer.Option(min=1, max=50, help="Labeled toy bears to start from")] = 50,
    data: Annotated[
        Path | None,
        typer.Option(help="Where the service keeps its files and the results go; LABELMINT_DATA_DIR if not given"),
    ] = None,
) -> None:
    """Show the main job: labeled toy bears in, a labeled dataset out, over the service's own API."""
    from labelmint.demo import demo as run

    settings = settings_or_error()
    if count > settings.max_count:
        raise UserError(f"--count: at most {settings.max_count} samples")
    with outages_as_errors():
        run(settings, _console, count=count, seeds=seeds, data=data or settings.data_dir)
