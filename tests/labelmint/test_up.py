"""`labelmint up`: everything starts with one command, and nothing is left of it afterwards."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from labelmint.supervisor import ChildKeepsDying, Supervisor
from models import fused_labeling
from service.records import JobRecord
from service.requests import GenerateRequest
from service.stores import FileStore
from tests.workers.processes import ROOT, children_of, running, wait_for
from tests.workers.world import PROJECT
from workers.formats import tracing
from workers.lifeline import is_running
from workers.plan import Plan, write_plan


def processes_with(mark: str) -> list[str]:
    """Command lines of the living processes that have inherited `mark`."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in environment.read_bytes():
                found.append((environment.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return [command for command in found if command]


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


class Up:
    """A running `labelmint up`."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, mark: str) -> None:
        self.process, self.log, self.mark = process, log, mark
        wait_for(lambda: "/docs" in log.read_text() or process.poll() is not None, 120, "it is up")
        address = re.search(r"http://[\d.:]+", log.read_text())
        assert address, log.read_text()
        self.url = address[0]

    def end(self, sig: signal.Signals) -> None:
        children = children_of(self.process.pid)
        assert len(children) == 3
        self.process.send_signal(sig)
        self.process.wait(20)
        wait_for(lambda: not processes_with(self.mark), 10, "all its processes have ended")
        # The embedded server hides its environment behind its title.
        wait_for(lambda: not any(map(is_running, children)), 10, "its children have ended")


@contextmanager
def labelmint_up(folder: Path) -> Iterator[Up]:
    """`labelmint up` in `folder`, on a free port."""
    mark, log = f"TEST_OF_LABELMINT={uuid.uuid4().hex}", folder / f"{uuid.uuid4().hex}.log"
    environment = dict([mark.split("=")])
    environment |= {"LABELMINT_DATA_DIR": str(folder), "LABELMINT_STORE_URL": f"file://{folder / 'store'}"}
    with running(["-m", "labelmint", "up", "--port", "0"], log, LABELMINT_DEVICE="cpu", **environment) as process:
        yield Up(process, log, mark)


def test_a_job_cut_short_by_ctrl_c_goes_on_at_the_next_up(fitted_world: tuple[Path, str], tmp_path: Path) -> None:
    template, key = fitted_world
    shutil.copytree(template, tmp_path / "store")
    store = FileStore(tmp_path / "store")
    job = JobRecord(id="job", request=GenerateRequest(project_id=PROJECT, count=1200))
    store.put(JobRecord.key("job"), job.model_dump_json().encode())
    write_plan(store, "job", Plan(fit_key=key, count=1200, shard_size=300))

    def made() -> int:
        return int(httpx.get(f"{up.url}/jobs/job").json()["progress"]["done"])

    with labelmint_up(tmp_path) as up:
        assert httpx.get(f"{up.url}/docs").status_code == 200
        wait_for(lambda: made() > 0, 60, "some samples are made")
        up.end(signal.SIGINT)
        assert up.process.returncode == 0
    with labelmint_up(tmp_path) as up:
        wait_for(lambda: httpx.get(f"{up.url}/jobs/job").json()["state"] == "succeeded", 90, "the job has succeeded")
        up.end(signal.SIGTERM)


def test_without_its_redis_it_stops_everything_and_says_so(tmp_path: Path) -> None:
    with labelmint_up(tmp_path) as up:
        (server,) = (pid for pid in children_of(up.process.pid) if "valkey" in command_of(pid))
        os.kill(server, signal.SIGKILL)
        assert up.process.wait(20) == 2
        assert "embedded Redis has ended" in up.log.read_text()
        wait_for(lambda: not processes_with(up.mark), 10, "all its processes have ended")


def test_nothing_is_left_of_a_killed_up(tmp_path: Path) -> None:
    with labelmint_up(tmp_path) as up:
        up.end(signal.SIGKILL)


def test_a_killed_worker_is_brought_back_and_a_second_up_is_refused(tmp_path: Path) -> None:
    with labelmint_up(tmp_path) as up:
        second = subprocess.run(
            [sys.executable, "-m", "labelmint", "up", "--port", "0"],
            env={**os.environ, "LABELMINT_DATA_DIR": str(tmp_path)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (second.returncode, "another labelmint" in second.stderr) == (2, True)
        log = tmp_path / "logs" / "worker-1.log"

        def started() -> list[dict[str, Any]]:
            lines = map(json.loads, log.read_text().splitlines())
            return [line for line in lines if line["event"] == "worker started"]

        wait_for(lambda: len(started()) == 1, 60, "there is a worker")
        assert started()[0]["compiled_labeling"] == fused_labeling.availability()
        assert started()[0]["compiled_tracing"] == tracing.availability()
        os.kill(started()[0]["pid"], signal.SIGKILL)
        wait_for(lambda: len(started()) == 2, 60, "there is a new worker")
        up.end(signal.SIGINT)


def test_a_child_that_keeps_dying_is_given_up_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABELMINT_REDIS_URL", raising=False)
    monkeypatch.chdir(tmp_path)

    def died() -> bool:
        try:
            supervisor.check()
        except ChildKeepsDying as death:
            assert "worker-1 ended 5 times" in str(death)
            assert "LABELMINT_REDIS_URL" in str(death)
            return True
        return False

    with Supervisor(tmp_path / "logs", {}) as supervisor:
        supervisor.start("worker-1", ["worker"])
        wait_for(died, 60, "the supervisor gives up")
