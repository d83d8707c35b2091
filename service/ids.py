"""Names for new things."""

import secrets

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"


def new_id() -> str:
    """A random `Identifier` of 12 characters, without those that are easily misread."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))
