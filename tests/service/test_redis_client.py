"""How the service reaches Redis, and which addresses it refuses."""

import subprocess
from pathlib import Path

import pytest
import redis as redis_client
from pydantic import ValidationError

from service.embedded_redis import _server_binary
from service.redis_client import check_url, connect
from service.settings import Settings
from tests.workers.processes import wait_for


def test_a_server_may_listen_on_a_unix_socket(tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--dir", str(tmp_path), "--save", ""]
    server = subprocess.Popen([str(_server_binary()), *options], stdout=subprocess.DEVNULL)
    url = f"unix://{socket}"
    check_url(url)
    client = connect(url)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis_client.ConnectionError:
            return False

    try:
        wait_for(answers, 15, "the server answers")
    finally:
        client.close()
        server.kill()
        server.wait()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:6379",
        "redis://h:port",
        "redis://h/0?nothing=1",
        "redis://h/abc",
        "redis://h/1/2",
        "rediss://h/-1",
        "unix:///s?nothing=1",
    ],
)
def test_an_address_that_makes_no_sense_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    ["redis://:secret/word@h", "redis://:secret#@h:1", "redis://:secret℀@h", "redis://:secret@h/x", "redi://:secret@h"],
)
def test_what_is_wrong_with_an_address_is_said_without_its_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELMINT_REDIS_URL", url)
    with pytest.raises(ValidationError) as refusal:
        Settings(_env_file=None)
    assert "redis_url" in str(refusal.value)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("url", ["redis://h", "redis://u:p@h:1/", "rediss://h/3", "redis://h?db=4", "unix:///a/b.sock"])
def test_an_address_may_leave_out_the_database(url: str) -> None:
    check_url(url)
