"""The benchmark of packing packs what it says, inline and spread."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.packing import DISTINCT, bears, measure, repeated
from service.requests import DatasetFormat
from tests.workers.processes import ROOT
from workers import process_map

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")


def test_samples_are_repeated_under_indices_of_their_own() -> None:
    samples = bears(16, 3)
    found = list(repeated(samples, 7))
    assert [sample.facts.index for sample in found] == list(range(7))
    assert [sample.image for sample in found] == [samples[index % 3].image for index in range(7)]


def test_both_ways_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_map, "WORTH_S", 0.0)
    cores = os.sched_getaffinity(0)
    figures = measure(DatasetFormat.YOLO, 2 * DISTINCT, 16)
    assert figures["samples_s_inline"] > 0
    assert figures["ratio"] == pytest.approx(figures["samples_s_spread"] / figures["samples_s_inline"], abs=0.01)
    assert os.sched_getaffinity(0) == cores


def test_the_last_line_is_one_object() -> None:
    command = [sys.executable, "-m", "benchmarks.packing", "--format", "voc", "--count", "20", "--side", "16"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["format"], figures["count"], figures["side"]) == ("voc", 20, 16)
