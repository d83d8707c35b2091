"""How a command tells its user, in one line, that something is not as it should be."""

import click
from pydantic import ValidationError

from service.settings import Settings, get_settings


class UserError(click.ClickException):
    """Ends the command with exit code 2 and `Error: message` on stderr."""

    exit_code = 2


def settings_or_error() -> Settings:
    """The settings of this process. Raises `UserError` naming every variable that is wrong."""
    try:
        return get_settings()
    except ValidationError as invalid:
        problems = "; ".join(
            f"LABELMINT_{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}" for problem in invalid.errors()
        )
        raise UserError(problems) from None


def redis_url_or_error(settings: Settings) -> str:
    """The address of Redis. Raises `UserError` if there is none."""
    if settings.redis_url is None:
        raise UserError(
            "set LABELMINT_REDIS_URL to the address of a Redis, or use `labelmint up`, which brings its own"
        )
    return settings.redis_url
