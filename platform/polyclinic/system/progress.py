"""Progress of work that takes longer than two seconds."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from polyclinic.system.terminal import Console, is_quiet

Entry = TypeVar("Entry")


def track(
    entries: Iterable[Entry], description: str, *, total: int | None = None, silent: bool = False
) -> Iterator[Entry]:
    """Yield entries, and show a bar with the rate and the time left on the error output meanwhile.

    The bar disappears at the end. None is shown with ``--quiet``, or where the error output is not a terminal.

    Args:
        entries: entries to work on.
        description: what is done, such as ``reading sources``.
        total: number of entries, if they have no length.
        silent: whether to show no bar, as for work that is known to be short.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    hidden = silent or is_quiet() or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        yield from progress.track(entries, total=total, description=description)


def step_bars(console: Console) -> Progress:
    """Return bars of steps with their time, which stay when the steps end; none with ``--quiet``.

    Args:
        console: where they are shown; only the ends of steps, unless it is a terminal.
    """
    columns = (TextColumn("{task.description:<32}"), BarColumn(bar_width=30), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=is_quiet())


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g}/s")
