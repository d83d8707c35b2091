"""Names for new things, and which names can be ids."""

import re
import secrets

IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
"""An id in whole (`fullmatch`): lower-case letters, digits and dashes."""

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"


def new_id() -> str:
    """A random id of 12 characters, without those that are easily misread."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))
