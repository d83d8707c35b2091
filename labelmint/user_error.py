"""How a command tells its user, in one line, that something is not as it should be."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from pydantic import ValidationError
from redis.exceptions import RedisError
from rich.console import Console

from service.printed import printed
from service.settings import Settings, get_settings
from service.stores import open_store
from service.stores.protocol import Store, StoreUnavailable
from service.unknown_settings import unknown_settings


class UserError(Exception):
    """Ends the command with exit code 2 and `Error: message` on stderr."""


def _warn(name: str, nearest: str | None) -> None:
    meant = f"; did you mean {nearest}?" if nearest else ""
    warning = f"Warning: {printed(name)} is no setting{meant}"
    Console(stderr=True).print(warning, markup=False, highlight=False, soft_wrap=True)


def settings_or_error(warn: Callable[[str, str | None], None] = _warn) -> Settings:
    """The settings of this process. Raises `UserError` naming every variable that is wrong.

    `warn` is called with each variable that looks like a setting and is none, and the setting that may have been meant.
    """
    try:
        for name, nearest in unknown_settings().items():
            warn(name, nearest)
        return get_settings()
    except ValidationError as invalid:
        problems = "; ".join(
            f"LABELMINT_{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in invalid.errors()
        )
        raise UserError(problems) from None
    except (OSError, UnicodeDecodeError) as refusal:
        raise UserError(f".env cannot be read: {refusal}") from None


def store_or_error(settings: Settings) -> Store:
    """The object store. Raises `UserError` if its address makes no sense; a server need not answer yet."""
    try:
        return open_store(settings.store_url, settings.s3_endpoint_url, settings.s3_public_endpoint_url)
    except (ValueError, OSError, StoreUnavailable) as refusal:
        raise UserError(f"LABELMINT_STORE_URL: {refusal}") from None


def folder_or_error(folder: Path, setting: str = "LABELMINT_DATA_DIR") -> Path:
    """The folder, made if need be. Raises `UserError` naming the `setting` it comes from if there cannot be one, or if
    nothing can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as refusal:
        raise UserError(f"{setting}: {folder} cannot be made a folder: {refusal.strerror}") from None
    try:
        with TemporaryFile(dir=folder):
            return folder
    except OSError as refusal:
        raise UserError(f"{setting}: {folder} cannot be written: {refusal.strerror}") from None


@contextmanager
def refusals_as_errors() -> Iterator[None]:
    """Turns bad input and files that cannot be used, both of which say what is wrong, into a `UserError`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from None
    except ValueError as error:
        raise UserError(str(error)) from None


@contextmanager
def outages_as_errors() -> Iterator[None]:
    """Turns an unreachable store or Redis into a `UserError`."""
    try:
        yield
    except StoreUnavailable as outage:
        raise UserError(f"the object store (LABELMINT_STORE_URL) cannot be used: {outage}") from None
    except RedisError as outage:
        raise UserError(f"Redis (LABELMINT_REDIS_URL) cannot be used: {outage}") from None


def redis_url_or_error(settings: Settings) -> str:
    """The address of Redis. Raises `UserError` if there is none."""
    if settings.redis_url is None:
        raise UserError(
            "set LABELMINT_REDIS_URL to the address of a Redis, or use `labelmint up`, which brings its own"
        )
    return settings.redis_url
