"""Locks over a real server: kept by the living for as long as they need them, and not by the dead."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from redis import Redis
from redis.lock import Lock

from service import locks
from service.locks import LockBusy, brief_lock, lock_if_free
from tests.service.conftest import SHORT_LIFE_S

HOLDER = """
import os, sys, time
from service import locks
from service.redis_client import connect

def linger():
    print(os.getpid(), flush=True)
    time.sleep(60)

locks._LIFE_S = float(sys.argv[2])
connection = connect(sys.argv[1])
with locks.brief_lock(connection, "parent"):
    if "forks" in sys.argv and os.fork() == 0:
        with locks.brief_lock(connection, "child"):
            linger()
    linger()
"""
"""Holds the lock `parent`, and in a child of its own `child`, and prints the ids of its processes."""


@contextmanager
def holder(redis_url: str, *forks: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, redis_url, str(SHORT_LIFE_S), *forks]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], bool], what: str) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < 20, what
        time.sleep(0.01)
    return time.monotonic() - began


def is_free(redis: Redis, what: str) -> bool:
    return not redis.exists(f"labelmint:lock:{what}")


def stays_locked(redis: Redis, what: str, seconds: float = 4 * SHORT_LIFE_S) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with lock_if_free(redis, what) as ours:
            if ours:
                return False
        time.sleep(0.01)
    return True


def test_one_that_takes_longer_than_the_life_of_a_lock_keeps_others_out(redis: Redis, short_life: None) -> None:
    with brief_lock(redis, "this"), brief_lock(redis, "that"):
        assert stays_locked(redis, "this")
        assert not is_free(redis, "that")
    assert is_free(redis, "this")
    with brief_lock(redis, "this"):
        pass


def test_who_waits_for_long_is_told_that_another_is_busy(redis: Redis, short_life: None) -> None:
    with brief_lock(redis, "this"):
        began = time.monotonic()
        with pytest.raises(LockBusy), brief_lock(redis, "this"):
            pass
        assert SHORT_LIFE_S < time.monotonic() - began < 20


def test_the_lock_of_one_that_is_killed_does_not_outlast_its_life(redis: Redis, redis_url: str) -> None:
    with holder(redis_url) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert stays_locked(redis, "parent"), "it lives"
        process.kill()
        process.wait()
        assert wait_for(lambda: is_free(redis, "parent"), "it is free") < 2 * SHORT_LIFE_S


def test_a_child_keeps_its_own_locks_and_not_those_of_its_parent(redis: Redis, redis_url: str) -> None:
    with holder(redis_url, "forks") as process:
        assert process.stdout is not None
        (child,) = {int(process.stdout.readline()) for _ in range(2)} - {process.pid}
        try:
            assert stays_locked(redis, "child")
            assert not is_free(redis, "parent")
            process.kill()
            process.wait()
            wait_for(lambda: is_free(redis, "parent"), "it is free")
            assert stays_locked(redis, "child")
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_lock_that_cannot_be_prolonged_does_not_cost_the_others(
    redis: Redis, short_life: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    reacquire = Lock.reacquire

    def failing(lock: Lock) -> bool:
        if lock.name == "labelmint:lock:this":
            raise ValueError("I/O operation on closed file")
        return reacquire(lock)

    monkeypatch.setattr(Lock, "reacquire", failing)
    with brief_lock(redis, "this"), brief_lock(redis, "that"):
        wait_for(lambda: is_free(redis, "this"), "it has run out")
        assert stays_locked(redis, "that")


def test_one_that_hangs_is_given_up(redis: Redis, short_life: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_LONGEST_S", 2 * SHORT_LIFE_S)
    with brief_lock(redis, "this"):
        assert SHORT_LIFE_S < wait_for(lambda: is_free(redis, "this"), "it is given up") < 5 * SHORT_LIFE_S


def test_a_lost_lock_is_not_taken_from_another(redis: Redis, short_life: None) -> None:
    with brief_lock(redis, "this"):
        redis.set("labelmint:lock:this", "another")
    assert redis.get("labelmint:lock:this") == b"another"


def test_what_fails_under_a_lock_releases_it(redis: Redis, short_life: None) -> None:
    with pytest.raises(ValueError, match="no"), brief_lock(redis, "this"):
        raise ValueError("no")
    assert is_free(redis, "this")


def test_many_that_are_held_for_a_moment_need_one_thread(
    redis: Redis, short_life: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    start = threading.Thread.start

    def counted(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(locks, "_LIFE_S", 3.0)
    monkeypatch.setattr(threading.Thread, "start", counted)
    for number in range(100):
        with brief_lock(redis, str(number)):
            pass
    assert 1 <= started.count("locks") <= 3
