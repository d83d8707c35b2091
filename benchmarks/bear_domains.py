"""Which bears a benchmark is about, and the generator that draws them, on its command line."""

import argparse
from pathlib import Path

from models.bears import DOMAINS, PLAIN, Domain
from models.bundled import bundled_folders

DRESSED_BEARS = Path(__file__).with_name("dressed-bears")
"""The generator of dressed bears: a yardstick, which the service does not offer."""


def add_bears(parser: argparse.ArgumentParser) -> None:
    """Let a command be told which bears and which generator it is about: `--bears`, `--generator`."""
    parser.add_argument("--bears", choices=[*DOMAINS], default=PLAIN.name, help="dressed: with hats, scarves and more")
    parser.add_argument("--generator", type=Path, help="folder of a generator; default: the one that draws these bears")


def domain_of(arguments: argparse.Namespace) -> Domain:
    """The bears that were asked for."""
    return DOMAINS[arguments.bears]


def generator_of(arguments: argparse.Namespace) -> Path:
    """The folder of the generator that was asked for."""
    return arguments.generator or (DRESSED_BEARS if domain_of(arguments).dressed else bundled_folders()[0])
