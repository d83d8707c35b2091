"""Each kind of bears has a generator, which draws them."""

import argparse
import json
from pathlib import Path

import pytest
import torch

from benchmarks.bear_domains import add_bears, domain_of, generator_of
from models.bears import DOMAINS
from models.bundle import load_bundle


def asked_for(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_bears(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(("name", "source"), [("plain", "toy bears"), ("dressed", "dressed bears")])
def test_bears_are_drawn_by_the_generator_that_learnt_from_them(name: str, source: str) -> None:
    arguments = asked_for("--bears", name)
    folder = generator_of(arguments)
    assert domain_of(arguments) is DOMAINS[name]
    assert json.loads((folder / "provenance.json").read_text())["generator"]["source"].endswith(source)
    bundle = load_bundle(folder, torch.device("cpu"))
    assert bundle.resolution == 64
    assert bundle.encoder is not None


def test_plain_bears_are_meant_where_nothing_is_said_and_any_generator_can_be_named() -> None:
    assert domain_of(asked_for()).name == "plain"
    assert generator_of(asked_for("--bears", "dressed", "--generator", "mine")) == Path("mine")
