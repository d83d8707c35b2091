"""What a person sees of a run: how far it is, what is being done, and each figure as it comes."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from benchmarks.quality.pool import Event
from benchmarks.quality.steps import Step
from benchmarks.quality.summary import headline
from benchmarks.quality.trial import Trial


class View:
    """One bar for the trials, and one for what each worker does; a line for each step that ended."""

    def __init__(self, console: Console, done: int, total: int) -> None:
        """
        Args:
            done, total: trials.
        """
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.console = console
        self.progress = Progress(*columns, console=console, transient=True)
        self.trials = self.progress.add_task("trials", completed=done, total=total)
        self.bars: dict[int, tuple[Step, TaskID]] = {}

    def __enter__(self) -> "View":
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.progress.stop()

    def show(self, event: Event) -> None:
        """Draw what happened."""
        if event.what == "progress":
            done, total = event.progress
            self.progress.update(self._bar(event), completed=done, total=total)
            return
        if event.worker in self.bars:
            self.progress.remove_task(self.bars.pop(event.worker)[1])
        counts = isinstance(event.step, Trial)
        if counts:
            self.progress.advance(self.trials)
        state = self.progress.tasks[0]
        of_all = f"{state.completed:.0f}/{state.total:.0f} trials"
        if event.what == "failed":
            self.console.print(f"[red]failed[/]: {event.step.title}\n{event.why}", highlight=False, soft_wrap=True)
            return
        facts = event.facts or {}
        said = f": {headline(facts)}" if headline(facts) else ""
        self.console.print(
            f"{of_all}, {event.step.title}{said} ({facts['seconds']:.0f} s)", highlight=False, soft_wrap=True
        )

    def _bar(self, event: Event) -> TaskID:
        """The bar of a worker's step."""
        known = self.bars.get(event.worker)
        if known is not None and known[0] == event.step:
            return known[1]
        if known is not None:
            self.progress.remove_task(known[1])
        bar = self.progress.add_task(event.step.title)
        self.bars[event.worker] = (event.step, bar)
        return bar
