"""The whole service on one machine: Redis, API and workers, for as long as a `with` block lasts."""

import fcntl
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from labelmint.supervisor import ChildKeepsDying, Supervisor
from labelmint.user_error import UserError, folder_or_error, store_or_error
from models.bundled import bundled_folders
from service.embedded_redis import EmbeddedRedis
from service.ledger import Ledger
from service.queue import JobQueue
from service.records import GeneratorRecord
from service.redis_client import connect
from service.settings import Settings
from service.stores.protocol import Store
from workers.lifeline import is_running
from workers.recover import recover

_READY_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class RunningService:
    """A service that answers."""

    url: str
    """`http://host:port`"""
    resumed: int
    """Jobs of an earlier run that were taken up again."""
    logs: Path
    supervisor: Supervisor
    redis: EmbeddedRedis | None
    """The server it brought along, if it did."""

    def check(self) -> None:
        """Keep its processes alive; call it several times a second. Raises `UserError` when that is of no use."""
        if self.redis is not None and not is_running(self.redis.pid):
            raise UserError("the embedded Redis has ended; stopped everything. Unfinished jobs go on at the next start")
        try:
            self.supervisor.check()
        except ChildKeepsDying as death:
            raise UserError(f"{death}; stopped everything") from None


@contextmanager
def serving(settings: Settings) -> Iterator[RunningService]:
    """Start everything, wait until it answers, and stop it all on leaving.

    Unfinished jobs of an earlier run are taken up. Raises `UserError` if the port or the data directory is in use or
    cannot be, or if a part does not start. SIGTERM is turned into `KeyboardInterrupt`; neither interrupts the stopping.
    """
    with ExitStack() as stack:
        for sig in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, sig, signal.getsignal(sig))
        stack.enter_context(_only_one(folder_or_error(settings.data_dir) / "up.lock"))
        port = _free_port(settings)
        redis, redis_url = None, settings.redis_url
        if redis_url is None:
            redis = stack.enter_context(_embedded_redis(folder_or_error(settings.data_dir / "redis")))
            redis_url = redis.url
        store = store_or_error(settings)
        resumed = _recover(settings, store, redis_url)

        logs = folder_or_error(settings.data_dir / "logs")
        environment = {"LABELMINT_REDIS_URL": redis_url, "LABELMINT_STORE_URL": settings.store_url}
        environment |= {"LABELMINT_DATA_DIR": str(settings.data_dir)}
        supervisor = stack.enter_context(Supervisor(logs, environment))
        stack.enter_context(_undisturbed_after())
        supervisor.start("api", ["api", "--host", settings.host, "--port", str(port)])
        for number in range(1, settings.workers + 1):
            supervisor.start(f"worker-{number}", ["worker"])

        service = RunningService(f"http://{_reachable(settings.host)}:{port}", resumed, logs, supervisor, redis)
        _wait_until_ready(service, store)
        yield service


def _embedded_redis(directory: Path) -> EmbeddedRedis:
    try:
        return EmbeddedRedis(directory)
    except ImportError:
        raise UserError(
            "there is no embedded Redis here: pip install 'labelmint[embedded]', or set LABELMINT_REDIS_URL"
        ) from None
    except RuntimeError as failure:
        raise UserError(str(failure)) from None


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Two services on one data directory would do each other's jobs."""
    try:
        file = lock.open("w")
    except OSError as refusal:
        raise UserError(f"LABELMINT_DATA_DIR: {lock} cannot be written: {refusal.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another labelmint uses {lock.parent}; stop it, or use another directory") from None
        yield


@contextmanager
def _undisturbed_after() -> Iterator[None]:
    """Turns SIGTERM into Ctrl-C, and from its end on, while the parts are being stopped, ignores both."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _free_port(settings: Settings) -> int:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as refusal:
            raise UserError(
                f"cannot listen on {settings.host} port {settings.port} ({refusal.strerror}); "
                "choose another with --port, 0 for any free one"
            ) from None
        return int(probe.getsockname()[1])


def _reachable(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 (to recognise, not to bind)
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _recover(settings: Settings, store: Store, redis_url: str) -> int:
    connection = connect(redis_url)
    try:
        return recover(Ledger(store, connection, settings.job_ttl_s), JobQueue(connection, settings))
    finally:
        connection.close()


def _wait_until_ready(service: RunningService, store: Store) -> None:
    """Until the API answers and the first worker has put the bundled generators into the store."""
    wanted = [GeneratorRecord.key(folder.name) for folder in bundled_folders()]
    end = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < end:
        service.check()
        if _answers(service.url) and all(store.exists(key) for key in wanted):
            return
        time.sleep(0.2)
    raise UserError(f"the service did not get ready within {_READY_TIMEOUT_S:.0f} s; its logs are in {service.logs}")


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
