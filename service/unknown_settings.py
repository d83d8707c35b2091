"""Variables that look like settings and are none: somebody may have misspelt one, and wonder why nothing changes."""

import os
import re
from difflib import get_close_matches

from pydantic_settings import DotEnvSettingsSource

from service.settings import Settings

_PREFIX = "labelmint_"

_OF_KUBERNETES = re.compile(r"(\w+_)?(service_(host|port)(_\w+)?|port_[0-9]+_(tcp|udp|sctp)(_(proto|port|addr))?)")
"""What Kubernetes sets in every container for a service whose name begins with `labelmint`, without the prefix."""

_ADDRESS_OF_KUBERNETES = re.compile(r"(tcp|udp|sctp)://")


def unknown_settings() -> dict[str, str | None]:
    """Each variable that is no setting, of the environment and the file `.env`, with the setting that is nearest to it
    by its name, None if none is near. Raises `OSError` or `UnicodeDecodeError` if there is such a file, but unreadable.
    """
    given = {name.lower(): value for name, value in {**DotEnvSettingsSource(Settings).env_vars, **os.environ}.items()}
    unknown = {}
    for name, value in sorted(given.items()):
        rest = name.removeprefix(_PREFIX)
        if rest == name or rest in Settings.model_fields or _is_of_kubernetes(rest, value or ""):
            continue
        nearest = get_close_matches(rest, Settings.model_fields, n=1)
        unknown[name.upper()] = f"{_PREFIX}{nearest[0]}".upper() if nearest else None
    return unknown


def _is_of_kubernetes(rest: str, value: str) -> bool:
    address = rest.endswith("_port") and _ADDRESS_OF_KUBERNETES.match(value)
    return bool(_OF_KUBERNETES.fullmatch(rest) or address)
