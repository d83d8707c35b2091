"""`labelmint generator train`: what it takes from toy bears."""

from pathlib import Path

from typer.testing import CliRunner

from labelmint.generator_train import _plan
from labelmint.main import app
from models.training.settings import BEAR_PLAN, plan_for
from tests.workers.world import write_generator


def test_accessories_are_for_bears_alone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = CliRunner().invoke(app, ["generator", "train", "--images", str(tmp_path), "--out", str(run), "--dressed"])
    assert done.exit_code != 0, done.output
    assert "--dressed: is about toy bears" in str(done.exception)
    assert not run.exists()


def test_bears_are_trained_on_alike_from_nothing_and_from_a_generator(tmp_path: Path) -> None:
    start = tmp_path / "start"
    write_generator(start)
    for begin in (None, start):
        assert _plan(True, None, begin, {}, {}).settings == BEAR_PLAN.settings
    of_pictures = _plan(False, None, start, {}, {"batch": 8}).settings
    assert of_pictures.augment == plan_for(64).settings.augment == "ada"
    assert not of_pictures.mirror and of_pictures.batch == 8
