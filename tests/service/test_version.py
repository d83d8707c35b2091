"""Versions of installed packages."""

from importlib import metadata

import httpx

from service.version import installed_version


def test_the_version_of_what_is_installed_is_known() -> None:
    assert installed_version("labelmint") == metadata.version("labelmint")
    assert installed_version("labelmint-that-nobody-installed") is None


def test_the_api_says_its_version(api: httpx.Client) -> None:
    assert api.get("/openapi.json").json()["info"]["version"] == installed_version("labelmint")
