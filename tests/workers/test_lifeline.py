"""Who dies with whom."""

import os
import subprocess
import sys
from pathlib import Path

from tests.workers.processes import ROOT, children_of, kill, running, wait_for
from workers.lifeline import is_running

CHILD = """
import os, time
from workers.lifeline import die_with_parent
die_with_parent(os.getppid())
print("tied", flush=True)
time.sleep(60)
"""
PARENT = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {CHILD!r}]).wait()
"""

PREPARING = """
import sys, time
from service.settings import Settings
from workers import publish
def linger(store):
    print("publishing", flush=True)
    time.sleep(60)
publish.publish_bundled = linger
publish.prepare_in_child(Settings(store_url=sys.argv[1], device="cpu"))
"""


def test_a_child_dies_with_its_killed_parent(tmp_path: Path) -> None:
    with running(["-c", PARENT], tmp_path / "log") as parent:
        wait_for(lambda: (tmp_path / "log").read_text() == "tied\n", 10, "the child is tied to its parent")
        (child,) = children_of(parent.pid)
        kill(parent.pid)
        parent.wait()
        wait_for(lambda: not is_running(child), 10, "the child has died")


def test_what_prepares_a_worker_dies_with_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(["-c", PREPARING, f"file://{tmp_path / 'store'}"], log) as parent:
        wait_for(lambda: log.read_text() == "publishing\n", 60, "the child has begun")
        (child,) = children_of(parent.pid)
        kill(parent.pid)
        parent.wait()
        wait_for(lambda: not is_running(child), 10, "the child has died")


def test_a_child_that_comes_too_late_ends_itself() -> None:
    """Between the fork and the request to the kernel the parent may have died already."""
    code = "from workers.lifeline import die_with_parent; die_with_parent(1 << 22); print('alive')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -9
    assert done.stdout == b""


def test_running_means_neither_gone_nor_a_zombie() -> None:
    assert is_running(os.getpid())
    process = subprocess.Popen([sys.executable, "-c", ""])
    wait_for(lambda: not is_running(process.pid), 10, "it is a zombie")
    process.wait()
    assert not is_running(process.pid)
