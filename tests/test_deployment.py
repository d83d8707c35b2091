"""What is written for people and for containers agrees with the code."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient
from redis import Redis

from service.app import create_app
from service.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
OPERATING = (ROOT / "docs" / "operating.md").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_the_readme_lists_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `LABELMINT_(\w+)` \| (?:`([^`]*)`)? ?\|", README, re.MULTILINE)
    shown = {name.lower(): default for name, default in rows}
    expected = {
        name: "" if field.default is None else str(field.default) for name, field in Settings.model_fields.items()
    }
    assert shown == expected


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_what_compose_builds_and_waits_for_is_there(service: str) -> None:
    facts = COMPOSE["services"][service]
    assert ("image" in facts) != ("build" in facts)
    if "build" in facts:
        assert (ROOT / facts["build"]["context"] / facts["build"]["dockerfile"]).is_file()
    for other, condition in facts.get("depends_on", {}).items():
        assert condition["condition"] in ("service_healthy", "service_completed_successfully")
        assert condition["condition"] != "service_healthy" or "healthcheck" in COMPOSE["services"][other]
    for source in facts.get("configs", []):
        assert source["source"] in COMPOSE["configs"]
    for mount in facts.get("volumes", []):
        assert mount.partition(":")[0] in COMPOSE["volumes"]


def test_compose_sets_only_settings_there_are() -> None:
    for facts in COMPOSE["services"].values():
        for name in facts.get("environment", {}):
            assert name.startswith("AWS_") or name.removeprefix("LABELMINT_").lower() in Settings.model_fields


def test_compose_is_reached_from_elsewhere_only_if_told_so() -> None:
    published = [port for facts in COMPOSE["services"].values() for port in facts.get("ports", [])]
    assert len(published) == 2, "the API and the store"
    assert all(port.startswith("${BIND_ADDRESS:-127.0.0.1}:") for port in published)


@pytest.mark.parametrize("service", [name for name, facts in COMPOSE["services"].items() if "build" in facts])
def test_settings_of_an_env_file_reach_the_containers_but_for_places_inside_them(service: str) -> None:
    facts = COMPOSE["services"][service]
    assert facts["env_file"] == [{"path": ".env", "required": False}]
    dockerfile = (ROOT / facts["build"]["dockerfile"]).read_text()
    kept = dict(re.findall(r"(LABELMINT_\w+)=(\S+)", dockerfile))
    assert kept.items() <= facts["environment"].items(), "an env file would go before what the image sets"
    for mount in facts.get("volumes", []):
        assert mount.endswith(f":{facts['environment']['LABELMINT_DATA_DIR']}")
    for port in facts.get("ports", []):
        assert port.endswith(f":{facts['environment']['LABELMINT_PORT']}")


def test_the_readme_names_every_variable_of_compose() -> None:
    variables = set(re.findall(r"\$\{(\w+):-", (ROOT / "docker-compose.yml").read_text()))
    assert "S3_PUBLIC_ENDPOINT_URL" in variables
    assert variables <= set(re.findall(r"`(\w+)[`=]", README))


def test_who_operates_the_service_reads_of_every_metric_there_is(settings: Settings, redis: Redis) -> None:
    scraped = TestClient(create_app(settings)).get("/metrics").text
    there = {name for name in re.findall(r"^# TYPE (\w+)", scraped, re.MULTILINE) if not name.endswith("_created")}
    told = re.findall(r"^\| (`labelmint_.*?) \|", OPERATING, re.MULTILINE)
    assert there == set(re.findall(r"labelmint_\w+", " ".join(told)))


def test_what_operating_calls_settings_are_some() -> None:
    assert "docs/operating.md" in README
    named = {name.lower() for name in re.findall(r"LABELMINT_(\w+)", OPERATING)}
    assert named <= Settings.model_fields.keys()


def test_compose_shows_how_a_worker_gets_weights_that_lie_outside() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    (setting, path), (mounts,) = re.findall(r"in (LABELMINT_\w+)=(\S+),", text)[0], re.findall(r"# volumes: (.*)", text)
    assert setting.removeprefix("LABELMINT_").lower() in Settings.model_fields
    kept, weights = yaml.safe_load(mounts)
    assert [kept] == COMPOSE["services"]["worker"]["volumes"]
    assert path.startswith(weights.split(":")[1] + "/")


def test_compose_takes_up_unfinished_jobs_at_every_start() -> None:
    facts = COMPOSE["services"]["recover"]
    shell, option, command = facts["command"]
    assert (shell, option) == ("sh", "-c")
    first, then = command.split(" && ")
    assert first == "labelmint recover"
    # Docker starts with the machine what was running when it went down, so this may neither end nor be left stopped.
    assert (then, facts["restart"]) == ("exec sleep infinity", "unless-stopped")
    assert facts["depends_on"].keys() == {"redis", "bucket"}
    assert facts["build"] == COMPOSE["services"]["api"]["build"]
    assert facts["environment"] == COMPOSE["services"]["api"]["environment"]


def test_a_worker_gives_its_part_back_before_compose_kills_it() -> None:
    minutes = re.fullmatch(r"(\d+)m", COMPOSE["services"]["worker"]["stop_grace_period"])
    assert minutes
    assert Settings.model_fields["stop_grace_s"].default <= 60 * int(minutes[1]) - 15


@pytest.mark.parametrize("dockerfile", sorted((ROOT / "docker").glob("*.Dockerfile")), ids=lambda path: path.name)
def test_images_copy_what_is_there_and_do_not_run_as_root(dockerfile: Path) -> None:
    lines = dockerfile.read_text().splitlines()
    copied = [source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]]
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
    assert "USER labelmint" in lines
    assert any(line.startswith("HEALTHCHECK") for line in lines)


def test_a_wheel_takes_every_file_that_the_code_reads_along() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = settings["tool"]["setuptools"]["package-data"]
    taken = {file for room, patterns in declared.items() for each in patterns for file in (ROOT / room).glob(each)}
    rooms = settings["tool"]["mypy"]["packages"]
    files = {path for room in rooms for path in (ROOT / room).rglob("*") if path.is_file()}
    sources = {
        ROOT / source for module in settings["tool"]["setuptools"]["ext-modules"] for source in module["sources"]
    }
    assert sources <= files
    # What is built from the sources goes into wheels by itself.
    assert {path for path in files - sources if path.suffix not in (".py", ".pyc", ".so")} <= taken
    assert all((ROOT / name).is_file() for name in settings["project"]["license-files"])


def test_constraints_pin_every_direct_requirement_exactly() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+", pin) for pin in pins)
    names = [normalized(pin.partition("==")[0]) for pin in pins]
    assert names == sorted(names)
    project = (ROOT / "pyproject.toml").read_text()
    wanted = re.findall(r'^ +"([a-z0-9-]+)[^"]*",$', project.partition("[project.scripts]")[0], re.MULTILINE)
    assert {normalized(name) for name in wanted} <= set(names)


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
