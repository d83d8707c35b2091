"""Settings that would be taken at the start, and fail a job, or nobody knows what, hours later."""

import signal

import pytest
from pydantic import ValidationError

from service.settings import Settings

TIMES = sorted(name for name in Settings.model_fields if name.endswith("_s"))
LONGEST_S = 2**31 - 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, LONGEST_S + 1) for name in TIMES),
        ("encoder_minutes", "inf"),
        ("encoder_minutes", "nan"),
        ("encoder_minutes", 1e300),
        ("import_memory_bytes", 2**63),
    ],
)
def test_what_nothing_can_be_limited_to_is_refused(
    name: str, value: float | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"LABELMINT_{name.upper()}", str(value))
    with pytest.raises(ValidationError, match=name):
        Settings(_env_file=None)


@pytest.mark.parametrize("name", TIMES)
def test_an_alarm_can_be_set_to_any_time_that_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"LABELMINT_{name.upper()}", str(LONGEST_S))
    signal.alarm(getattr(Settings(_env_file=None), name))
    assert signal.alarm(0) == LONGEST_S
