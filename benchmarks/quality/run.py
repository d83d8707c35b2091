"""Doing the steps of a run in the order their results are needed, as many side by side as there are workers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.quality.pool import Event, Pool
from benchmarks.quality.record import Record
from benchmarks.quality.steps import Place, Step

NOT_MADE = "something that it needs failed"


@dataclass
class Agenda:
    """The unfinished steps of a run: waiting, in order; running; and those that failed, with the reason."""

    waiting: list[Step]
    running: set[Step] = field(default_factory=set)
    failed: dict[Step, str] = field(default_factory=dict)

    @property
    def open(self) -> set[Step]:
        """The steps that are still to end."""
        return {*self.waiting, *self.running}

    def ready(self, alone: Step | None) -> Step | None:
        """The next step whose needs are there; one that wants the machine for itself goes first, when nothing runs."""
        still = self.open
        if alone is not None and alone in self.waiting and not any(need in still for need in alone.needs):
            return None if self.running else alone
        return next((step for step in self.waiting if not any(need in still for need in step.needs)), None)

    def give_up(self) -> list[Step]:
        """Take out what can no more be made, because something it needs failed; what was taken out."""
        lost: list[Step] = []
        while late := [step for step in self.waiting if any(need in self.failed for need in step.needs)]:
            for step in late:
                self.waiting.remove(step)
                self.failed[step] = NOT_MADE
            lost += late
        return lost


def unfinished(wanted: Iterable[Step], place: Place, record: Record) -> list[Step]:
    """The wanted steps that no record tells of, each after what it needs that is not there."""
    found: dict[Step, None] = {}

    def visit(step: Step) -> None:
        if step in found or (record.facts(step) is not None and place.has(step)):
            return
        for need in step.needs:
            visit(need)
        found[step] = None

    for step in wanted:
        if record.facts(step) is None:
            visit(step)
    return list(found)


def everything(wanted: Iterable[Step]) -> list[Step]:
    """The wanted steps and all that they need."""
    found: dict[Step, None] = {}

    def visit(step: Step) -> None:
        if step not in found:
            found[step] = None
            for need in step.needs:
                visit(need)

    for step in wanted:
        visit(step)
    return list(found)


def run(
    wanted: Sequence[Step],
    place: Place,
    record: Record,
    workers: int,
    watch: Callable[[Event], None] = lambda _event: None,
    first: Sequence[Step] = (),
    alone: Step | None = None,
) -> dict[Step, str]:
    """Do the wanted steps that are not done, and what they need. A step that fails takes with it only what needs it.

    Args:
        watch: told of every event; may raise to stop the run.
        first: of the steps that are needed, those to do as early as can be.
        alone: a step that is timed: nothing runs beside it, and it has as many threads as there are workers.

    Returns:
        The steps that failed, with the reason of each.
    """
    needed = unfinished(wanted, place, record)
    early = [step for step in unfinished(first, place, record) if step in set(needed)]
    agenda = Agenda([*early, *(step for step in needed if step not in set(early))])
    droppable = everything(wanted)
    _drop(droppable, agenda, place)
    with Pool(min(workers, max(1, len(needed))), place) as pool:
        while agenda.open:
            while pool.idle and (step := agenda.ready(alone)) is not None and alone not in agenda.running:
                agenda.waiting.remove(step)
                agenda.running.add(step)
                pool.begin(pool.idle[0], step, workers if step == alone else 1)
            for event in pool.events():
                if event.what == "done":
                    record.add(event.step, event.facts or {})
                elif event.what == "failed":
                    agenda.failed[event.step] = event.why
                if event.what != "progress":
                    agenda.running.remove(event.step)
                    lost = agenda.give_up()
                    _drop([*event.step.needs, *(need for step in lost for need in step.needs)], agenda, place)
                watch(event)
    return agenda.failed


def _drop(steps: Iterable[Step], agenda: Agenda, place: Place) -> None:
    """Let steps that nothing needs any more remove what they can."""
    needed = {need for step in agenda.open for need in step.needs}
    for step in steps:
        if step not in needed and step not in agenda.open:
            place.drop(step)
