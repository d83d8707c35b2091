"""The command line: quick to answer, and plain about what is wrong."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SERVERS = (["up"], ["api"], ["recover"], ["worker"])
NO_REDIS = {"LABELMINT_REDIS_URL": "redis://127.0.0.1:1"}
NO_STORE = NO_REDIS | {"LABELMINT_STORE_URL": "file:///proc/nothing"}


def labelmint(
    folder: Path, *arguments: str, timeout: float = 60, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labelmint", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def test_help_names_every_command_and_loads_no_torch(tmp_path: Path) -> None:
    code = "import sys; from labelmint.main import app; app(['--help'], standalone_mode=False)"
    code += "; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("up", "api", "worker", "recover", "demo", "generator", "bears"):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["worker"], {}, "LABELMINT_REDIS_URL"),
        (["api"], {}, "LABELMINT_REDIS_URL"),
        (["recover"], {}, "LABELMINT_REDIS_URL"),
        (["up"], {"LABELMINT_PORT": "many"}, "LABELMINT_PORT"),
        (["up"], {"LABELMINT_MAX_SEEDS": "51", "LABELMINT_WORKERS": "0"}, "LABELMINT_WORKERS"),
        (["demo", "--count", "2000000"], {}, "--count"),
        (["up"], {"LABELMINT_STORE_URL": "ftp://elsewhere"}, "LABELMINT_STORE_URL"),
        *((command, {"LABELMINT_REDIS_URL": "127.0.0.1:6379"}, "LABELMINT_REDIS_URL") for command in SERVERS),
        *((command, {"LABELMINT_REDIS_URL": "redis://h/0?nothing=1"}, "LABELMINT_REDIS_URL") for command in SERVERS),
        *((command, NO_STORE, "LABELMINT_STORE_URL: the store's directory cannot be used") for command in SERVERS),
        (["api"], NO_REDIS | {"LABELMINT_S3_ENDPOINT_URL": "localhost:8333"}, "LABELMINT_S3_ENDPOINT_URL"),
        (["api"], NO_REDIS | {"LABELMINT_S3_PUBLIC_ENDPOINT_URL": ""}, "LABELMINT_S3_PUBLIC_ENDPOINT_URL"),
        (["api"], NO_REDIS | {"LABELMINT_HOST": ""}, "LABELMINT_HOST"),
        *((command, NO_REDIS, "LABELMINT_REDIS_URL") for command in (["up"], ["recover"], ["worker"])),
        (["up"], {"LABELMINT_DATA_DIR": __file__}, "LABELMINT_DATA_DIR"),
        (["up"], {"LABELMINT_DATA_DIR": f"{__file__}/below"}, "LABELMINT_DATA_DIR"),
        (["worker"], NO_REDIS | {"LABELMINT_DATA_DIR": f"{__file__}/below"}, "LABELMINT_DATA_DIR"),
        (["worker"], NO_REDIS | {"LABELMINT_DATA_DIR": "/proc"}, "LABELMINT_DATA_DIR: /proc cannot be written"),
        (["demo", "--data", __file__], {}, "--data, LABELMINT_DATA_DIR"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], words: str
) -> None:
    done = labelmint(tmp_path, *arguments, **environment)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_file_of_settings_that_cannot_be_read_is_answered_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"LABELMINT_PORT=\xff")
    done = labelmint(tmp_path, "recover")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: .env cannot be read: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_misspelt_setting_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LABELMINT_STORE=file://elsewhere\nLABELMINT_PORT=8000\nS3_ACCESS_KEY=key\n")
    kubernetes = {"LABELMINT_API_SERVICE_HOST": "10.0.0.1", "LABELMINT_API_PORT": "tcp://10.0.0.1:8000"}
    kubernetes |= {"LABELMINT_API_SERVICE_PORT_HTTP": "8000", "LABELMINT_API_PORT_8000_TCP_ADDR": "10.0.0.1"}
    done = labelmint(tmp_path, "recover", LABELMINT_REDIS_ULR="redis://h", LABELMINT_XYZZY="1", **kubernetes)
    assert done.stderr.splitlines()[:-1] == [
        "Warning: LABELMINT_REDIS_ULR is no setting; did you mean LABELMINT_REDIS_URL?",
        "Warning: LABELMINT_STORE is no setting; did you mean LABELMINT_STORE_URL?",
        "Warning: LABELMINT_XYZZY is no setting",
    ]


@pytest.mark.parametrize("server", ["api", "worker"])
def test_a_server_tells_of_a_misspelt_setting_in_its_log(tmp_path: Path, server: str) -> None:
    line = labelmint(tmp_path, server, LABELMINT_REDIS_ULR="redis://h").stderr.splitlines()[0]
    told = {"event": "no such setting", "name": "LABELMINT_REDIS_ULR", "nearest": "LABELMINT_REDIS_URL"}
    assert json.loads(line).items() >= told.items()
    supervised = labelmint(tmp_path, server, "--parent", str(os.getpid()), LABELMINT_REDIS_ULR="redis://h")
    assert supervised.stderr.startswith("Error: ")


def test_a_worker_says_in_one_line_when_the_store_is_out(tmp_path: Path, redis_url: str, s3_endpoint: str) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "LABELMINT_REDIS_URL": redis_url}
    environment |= {"LABELMINT_STORE_URL": "s3://no-such-bucket", "LABELMINT_S3_ENDPOINT_URL": s3_endpoint}
    done = labelmint(tmp_path, "worker", LABELMINT_DEVICE="cpu", **environment)
    assert done.returncode == 2
    assert done.stderr == (
        "Error: the object store (LABELMINT_STORE_URL) cannot be used: S3 has no bucket no-such-bucket\n"
    )


def test_a_worker_says_when_its_device_is_not_there(tmp_path: Path, redis_url: str) -> None:
    done = labelmint(
        tmp_path, "worker", LABELMINT_REDIS_URL=redis_url, LABELMINT_DEVICE="cuda:9", CUDA_VISIBLE_DEVICES=""
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: LABELMINT_DEVICE: ")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("setting", ["LABELMINT_LPIPS_WEIGHTS", "LABELMINT_INCEPTION_WEIGHTS"])
@pytest.mark.parametrize("content", [None, b"not weights", "another network's"])
def test_a_worker_says_at_its_start_when_weights_are_not_what_a_setting_calls_them(
    tmp_path: Path, redis_url: str, setting: str, content: bytes | str | None
) -> None:
    """Otherwise each fit would fail, and say that the store does not answer."""
    file = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save({"features.0.weight": torch.zeros(3)}, file)
    environment = {"LABELMINT_REDIS_URL": redis_url, "LABELMINT_DEVICE": "cpu", setting: str(file)}
    done = labelmint(tmp_path, "worker", **environment)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {setting}: {file}: not ")
    assert done.stderr.endswith("leave the setting out\n")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = labelmint(tmp_path, "up", "--port", str(port))
    assert done.returncode == 2
    assert str(port) in done.stderr


def test_every_line_of_the_apis_log_is_json(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = labelmint(tmp_path, "api", "--port", str(taken.getsockname()[1]), **NO_REDIS)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert any("already in use" in event["event"] and event["level"] == "error" for event in events)
