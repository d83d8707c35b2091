"""The `labelmint` command line: serve, work, train and demonstrate, each in a module named after its command."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("labelmint")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
