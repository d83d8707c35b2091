"""The private server starts, answers, keeps nothing, and never outlives its parent."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from service.embedded_redis import EmbeddedRedis
from service.redis_client import connect


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_two_servers_live_side_by_side_and_close(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "a") as one, EmbeddedRedis(tmp_path / "b") as two:
        assert one.url != two.url
        connect(one.url).set("key", "value")
        assert connect(two.url).get("key") is None
    assert not is_alive(one.pid)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["redis.log"]
    one.close()


def socket_of(server: EmbeddedRedis) -> Path:
    parts = urlsplit(server.url)
    assert parts.scheme == "unix"
    return Path(unquote(parts.path))


@pytest.mark.parametrize("folder", ["redis", "50% of #1? ü", "x" * 120], ids=["plain", "escaped", "long"])
def test_no_other_account_can_reach_the_server(tmp_path: Path, folder: str) -> None:
    """Whoever could would have workers call what they like."""
    directory = tmp_path / folder
    directory.mkdir(mode=0o755)
    (directory / "redis.sock").touch()
    with EmbeddedRedis(directory) as server:
        client = connect(server.url)
        assert client.info("server")["tcp_port"] == 0, "it listens on no network"
        path = socket_of(server)
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert path.parent.stat().st_uid == os.geteuid()
        assert (path.parent == directory) == (len(folder) < 100), "a socket's path is short"
        assert (directory / "redis.log").exists()
        client.close()
    assert not path.exists()
    assert len(folder) < 100 or not path.parent.exists()


def test_a_folder_that_others_may_enter_holds_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some disks know no permissions."""
    directory = tmp_path / "open"
    directory.mkdir(mode=0o755)
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    with EmbeddedRedis(directory) as server:
        assert socket_of(server).parent.parent == Path(tempfile.gettempdir())


def test_a_server_that_cannot_start_says_where_its_log_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.embedded_redis._server_binary", lambda: "/bin/false")
    with pytest.raises(RuntimeError, match=f"its log is {tmp_path}/redis.log"):
        EmbeddedRedis(tmp_path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help is Linux's")
def test_the_server_dies_with_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from service.embedded_redis import EmbeddedRedis\n"
        "server = EmbeddedRedis(Path(sys.argv[1])); sys.stdout.write(f'{server.pid}\\n'); sys.stdout.flush()\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_alive(pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not is_alive(pid)
