"""`labelmint demo`: the main job from end to end, as any client of the service would do it."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from labelmint.progress import LoggedProgress
from labelmint.serving import RunningService, serving
from labelmint.user_error import UserError, folder_or_error
from labelmint.verify import Contents, DatasetBroken, verify_png_zip
from service.records import Phase
from service.settings import Settings

_POLL_S = 1


def demo(settings: Settings, console: Console, *, count: int, seeds: int, data: Path) -> None:
    """Serve, upload `seeds` toy bears, generate `count` samples beside them, download, verify, and show what came out.

    Everything is kept below `data`: a second run finds the labeler that the first one fitted. Raises `UserError`.
    """
    store_url = (data.absolute() / "store").as_uri()
    own = {"host": "127.0.0.1", "port": 0, "redis_url": None, "data_dir": data, "store_url": store_url}
    settings = settings.model_copy(update=own)
    results = folder_or_error(data / "demo", "--data, LABELMINT_DATA_DIR")
    began = time.monotonic()
    try:
        console.print("starting the service …")
        with serving(settings) as service, httpx.Client(base_url=service.url, timeout=60) as client:
            console.print(f"the service answers at {service.url} [dim](logs in {service.logs})[/]")
            upload = _render_seeds(results / f"{seeds}-seeds.zip", seeds, console)
            project = _create_project(client, upload, console)
            job = _generate(client, service, project, count, console)
            path = _download(client, job, project, results)
        console.print("stopped the service; verifying the dataset …")
        _show(console, verify_png_zip(path, count), path, time.monotonic() - began)
    except KeyboardInterrupt:
        console.print("stopped")
        sys.exit(130)
    except httpx.HTTPError as failure:
        raise UserError(f"the service did not answer as it should: {failure}") from None
    except DatasetBroken as broken:
        raise UserError(f"the dataset is not what it should be: {broken}") from None


def _render_seeds(path: Path, count: int, console: Console) -> Path:
    command = [sys.executable, "-m", "labelmint", "bears", "render", "--count", str(count), "--seed", "1"]
    command += ["--out", str(path)]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise UserError(f"the toy bears could not be rendered: {(done.stderr or done.stdout).strip()[-300:]}")
    console.print(f"rendered {count} labeled toy bears in {time.monotonic() - began:.1f} s: {path}")
    return path


def _create_project(client: httpx.Client, upload: Path, console: Console) -> dict[str, Any]:
    with upload.open("rb") as stream:
        answer = client.post("/projects", files={"archive": (upload.name, stream, "application/zip")})
    project = _accepted(answer)
    console.print(f"POST /projects → project [bold]{project['id']}[/] with {len(project['seeds'])} seeds")
    return project


def _generate(
    client: httpx.Client, service: RunningService, project: dict[str, Any], count: int, console: Console
) -> dict[str, Any]:
    wanted = {"project_id": project["id"], "count": count, "seed": 1, "include_seeds": True}
    answer = client.post("/generate", json=wanted)
    job = _accepted(answer)
    location = answer.headers["Location"]
    console.print(f"POST /generate → job [bold]{job['id']}[/] for {count} samples, and the seeds beside them")
    columns = (
        TextColumn("{task.description:9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
    )
    with LoggedProgress(*columns, console=console) as progress:
        tasks: dict[str, Any] = {}
        while job["state"] not in ("succeeded", "failed", "cancelled"):
            service.check()
            job = _accepted(client.get(location, headers={"Prefer": f"wait={_POLL_S}"}))
            _draw(progress, tasks, job)
    for note in job["notes"]:
        console.print(f"[yellow]note[/] {note}")
    if job["state"] != "succeeded":
        error = job["error"] or {"code": job["state"], "message": "it was cancelled"}
        words = f"the job ended as {job['state']} ({error['code']}): {error['message']}"
        raise UserError(f"{words} The logs are in {service.logs}.")
    return job


def _draw(progress: Progress, tasks: dict[str, Any], job: dict[str, Any]) -> None:
    phase, state = job["phase"], job["progress"]
    if phase is None:
        return
    if phase not in tasks:
        for name, task in tasks.items():
            total = progress.tasks[task].total
            progress.update(task, completed=total, speed=f"[dim]{name} done[/]")
            progress.stop_task(task)
        tasks[phase] = progress.add_task(phase, total=state["total"], speed="")
    rate, eta = state["rate"], state["eta_s"]
    speed = f"{rate:.1f} {Phase(phase).unit}/s" if rate else ""
    speed += f", {eta:.0f} s left" if eta is not None else ""
    progress.update(tasks[phase], completed=state["done"], total=state["total"], speed=speed)


def _download(client: httpx.Client, job: dict[str, Any], project: dict[str, Any], results: Path) -> Path:
    path = results / "dataset.zip"
    with (
        client.stream("GET", f"/jobs/{job['id']}/download", params={"format": "png"}, follow_redirects=True) as answer,
        path.open("wb") as file,
    ):
        answer.raise_for_status()
        for chunk in answer.iter_bytes():
            file.write(chunk)
    for name, url in (
        ("preview.png", f"/jobs/{job['id']}/preview.png"),
        ("sheet.png", f"/projects/{project['id']}/sheet.png"),
    ):
        answer = client.get(url, follow_redirects=True)
        answer.raise_for_status()
        (results / name).write_bytes(answer.content)
    return path


def _accepted(answer: httpx.Response) -> dict[str, Any]:
    """The JSON of a good answer. Raises `UserError` with the service's own words otherwise."""
    if answer.is_error:
        try:
            problem = answer.json()
            faults = "; ".join(fault["message"] for fault in problem.get("errors", [])[:3])
            words = f"{problem['title']}: {faults or problem.get('detail', '')}"
        except (ValueError, KeyError):
            words = answer.text[:300]
        raise UserError(
            f"{answer.request.method} {answer.request.url.path} was refused with {answer.status_code}: {words}"
        )
    content: dict[str, Any] = answer.json()
    return content


def _show(console: Console, contents: Contents, path: Path, seconds: float) -> None:
    table = Table("class", "share of pixels", "samples with it", title=f"{contents.samples} samples, all loaded back")
    for entry in contents.classes:
        table.add_row(
            f"[{entry.color}]■[/] {entry.name}", f"{entry.share_of_pixels:.2%}", f"{entry.share_of_samples:.1%}"
        )
    console.print(table)
    console.print(f"beside the samples, the {contents.seeds} seeds with the labels that were uploaded")
    console.print(
        f"images and masks of {contents.size[0]} × {contents.size[1]}, mean uncertainty {contents.mean_uncertainty:.4f}"
    )
    console.print(f"dataset  {path}  ({path.stat().st_size / 1e6:.1f} MB)")
    console.print(f"preview  {path.with_name('preview.png')}")
    console.print(f"sheet    {path.with_name('sheet.png')}")
    console.print(f"all of it took {seconds:.0f} s")
