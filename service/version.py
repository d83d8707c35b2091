"""Which versions of packages are installed."""

from importlib import metadata


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution; None if there is none, as in a source tree that was never installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
