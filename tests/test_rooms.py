"""The rooms and the arrows between them: who may import whom."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WEB = {"boto3", "botocore", "fastapi", "httpx", "redis", "rq", "starlette", "uvicorn"}
TORCH = {"lpips", "torch", "torchvision"}
FORBIDDEN = {
    "service": {"workers", "models", "labelmint", "tests"} | TORCH,
    "models": {"service", "workers", "labelmint", "tests"} | WEB,
    "untrusted": {"labelmint", "models", "service", "tests", "workers"} | TORCH | WEB,
    "workers": {"labelmint", "tests", "fastapi", "starlette", "uvicorn"},
    "labelmint": {"tests"},
}


def imported(file: Path) -> Iterator[str]:
    """The top-level packages that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_along_the_arrows(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    wrong = {str(file.relative_to(ROOT)): set(imported(file)) & FORBIDDEN[room] for file in files}
    assert {file: names for file, names in wrong.items() if names} == {}


@pytest.mark.parametrize(
    ("module", "absent"),
    [("service.app", TORCH | {"workers", "models"}), ("models", WEB | {"service", "workers"})],
)
def test_what_is_not_imported_is_not_loaded_either(module: str, absent: set[str]) -> None:
    program = f"import {module}, sys; assert not {absent!r} & set(sys.modules), {absent!r} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
