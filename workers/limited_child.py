"""Runs work on untrusted files in a process of its own, whose memory and time end before the worker's do."""

import json
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import structlog

from workers.lifeline import die_with_parent

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 0.3
_LONGEST_MESSAGE = 2**20


class ChildEnded(Exception):
    """The child ended without an answer: it met one of its limits, or crashed. `args[0]` is its exit code."""


@dataclass(frozen=True)
class Limits:
    """memory_bytes: address space beyond what the child begins with. cpu_s: of processor time. file_bytes: size of any
    file it writes."""

    memory_bytes: int
    cpu_s: int
    file_bytes: int


def run_limited(
    work: Callable[[Callable[[str], None]], dict[str, Any]],
    limits: Limits,
    watch: Callable[[], None],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """What `work` returns, JSON values all, done in a forked child that is killed if this call ends in any other way.

    `work` is given a function that tells of its progress in words. Only JSON comes back from the child, so that one
    that was taken over by what it reads has no hold on this process.

    Raises:
        ChildEnded: the child ended without an answer.
        Whatever `watch`, called several times a second, or `progress` raise.
    """
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(work, limits, sender, receiver, os.getpid()), daemon=True)
    child.start()
    sender.close()
    try:
        while True:
            watch()
            if not receiver.poll(_LOOK_EVERY_S):
                continue
            try:
                message = json.loads(receiver.recv_bytes(_LONGEST_MESSAGE))
            except (EOFError, OSError, ValueError):
                break
            if "answer" in message:
                answer: dict[str, Any] = message["answer"]
                return answer
            progress(str(message.get("progress"))[:200])
    finally:
        child.kill()
        child.join()
        receiver.close()
    log.warning("a limited process ended without an answer", exit_code=child.exitcode)
    raise ChildEnded(child.exitcode)


def _run(
    work: Callable[[Callable[[str], None]], dict[str, Any]],
    limits: Limits,
    sender: Connection,
    receiver: Connection,
    parent_pid: int,
) -> None:
    die_with_parent(parent_pid)
    receiver.close()
    _limit(limits)

    def tell(words: str) -> None:
        sender.send_bytes(json.dumps({"progress": words}).encode())

    sender.send_bytes(json.dumps({"answer": work(tell)}, default=str).encode())


def _limit(limits: Limits) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    if sys.platform == "linux":  # elsewhere nobody can say what the child has already
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + limits.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
