"""What can go wrong, and the exit code that goes with it.

    SegpipeError
    ├── ConfigError            1   a key, a type, a range, an unknown name
    ├── InputError             1   stores, arrays, ids, shapes, values: every problem found, listed at once
    │   └── InputChangedError  1   an object is not what the inventory saw
    ├── ArrayError             1   an array handed over in Python: a dtype, values, coordinates
    │   └── ShapeError         1   shapes that should be equal and are not
    ├── GateError              2   a figure does not hold what a gate asks for
    ├── IncompleteError        3   something was left out, and the settings do not allow it
    └── InfrastructureError    4   the cluster, the disk, the network

A message says what was found, what was expected, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

EXIT_OK, EXIT_INPUT, EXIT_GATE, EXIT_INCOMPLETE, EXIT_INFRASTRUCTURE, EXIT_INTERRUPTED = 0, 1, 2, 3, 4, 130

WORST_FIRST = (EXIT_INTERRUPTED, EXIT_INFRASTRUCTURE, EXIT_INPUT, EXIT_INCOMPLETE, EXIT_GATE, EXIT_OK)
"""Of several exit codes the first of these is told: what could not be evaluated goes before what was."""

SHOWN_PROBLEMS = 40
"""How many problems a message prints; the rest are in problems.parquet and in --json."""


def worst_exit_code(codes: Iterable[int]) -> int:
    """The one exit code for several.

    >>> worst_exit_code([2, 0, 3]), worst_exit_code([])
    (3, 0)
    """
    return min(codes, key=WORST_FIRST.index, default=EXIT_OK)


class SegpipeError(Exception):
    """Anything that is told to the user in words, without a traceback."""

    exit_code = EXIT_INFRASTRUCTURE


class ConfigError(SegpipeError):
    """The configuration cannot be used; the message names the key."""

    exit_code = EXIT_INPUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with the data, and where.

    `kind` is a stable word for programs; `found`, `expected` and `advice` are for people. A side is
    `truth` or `pred`. What does not apply is an empty string.
    """

    kind: str
    found: str
    expected: str = ""
    side: str = ""
    store: str = ""
    array: str = ""
    image: str = ""
    chunk: str = ""
    advice: str = ""

    @property
    def place(self) -> str:
        """Side, store, array, image and chunk in words, as far as they are known.

        >>> Problem(kind="shape", found="", side="pred", array="labels", image="a1").place
        'pred, array labels, image a1'
        """
        named = [(name, getattr(self, name)) for name in ("store", "array", "image", "chunk")]
        return ", ".join(
            [self.side] * bool(self.side) + [f"{name} {value}" for name, value in named if value]
        )

    def sentence(self) -> str:
        """Found, expected and place in one line; the advice is added once by the message.

        >>> Problem(kind="dtype", found="float32", expected="an integer dtype", array="labels").sentence()
        'dtype: found float32, expected an integer dtype (array labels)'
        """
        expected = f", expected {self.expected}" if self.expected else ""
        place = f" ({self.place})" if self.place else ""
        return f"{self.kind}: found {self.found}{expected}{place}"

    def as_row(self) -> dict[str, str]:
        """The fields as a row of problems.parquet."""
        return asdict(self)


PROBLEM_FIELDS = tuple(field.name for field in fields(Problem))


class InputError(SegpipeError):
    """The data cannot be evaluated as it lies; `problems` lists everything that was found."""

    exit_code = EXIT_INPUT

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems: list[Problem] = [problems] if isinstance(problems, Problem) else list(problems)
        super().__init__(problem_list(self.problems))

    def __reduce__(self) -> tuple[type[InputError], tuple[list[Problem]]]:
        return type(self), (self.problems,)


class InputChangedError(InputError):
    """An object changed, vanished or appeared between the inventory and the read."""


class ArrayError(SegpipeError, ValueError):
    """An array that was handed over in Python cannot be counted."""

    exit_code = EXIT_INPUT


class ShapeError(ArrayError):
    """Arrays whose shapes must be equal have different ones; nothing is broadcast, resized or cut."""


class IncompleteError(SegpipeError):
    """Part of the dataset could not be evaluated, and the settings do not allow that.

    `problems` lists what could not be read; `run` is the folder of the run, published as incomplete.
    """

    exit_code = EXIT_INCOMPLETE

    def __init__(self, message: str, problems: Sequence[Problem] = (), run: str = "") -> None:
        self.problems, self.run = list(problems), run
        super().__init__(message)

    def __reduce__(self) -> tuple[type[IncompleteError], tuple[str, list[Problem], str]]:
        return type(self), (str(self), self.problems, self.run)


class GateError(SegpipeError):
    """A figure of a run does not hold what a gate asks for; `run` is its folder, published all the same."""

    exit_code = EXIT_GATE

    def __init__(self, message: str, run: str = "") -> None:
        self.run = run
        super().__init__(message)

    def __reduce__(self) -> tuple[type[GateError], tuple[str, str]]:
        return type(self), (str(self), self.run)


class InfrastructureError(SegpipeError):
    """The cluster, the disk or the network failed; the data may be fine."""

    exit_code = EXIT_INFRASTRUCTURE


class WrongCountsError(InfrastructureError):
    """Counts that were kept are not those of a recount; they are replaced, so another try would hide it."""


def memory_ran_out(error: MemoryError) -> InfrastructureError:
    """Too little memory, in words; what was asked for is told where it is known."""
    words = " ".join(str(error).split())
    return InfrastructureError(
        f"memory ran out{f' ({words})' if words else ''}; what was counted is kept. Use fewer workers or "
        "threads at a time, a machine or workers with more memory, or stores with smaller chunks; "
        "`segpipe plan` shows what a task needs"
    )


def first_of(texts: Sequence[str], number: int) -> str:
    """The first few of a number of things, and how many more there are.

    >>> first_of(["a", "b"], 2), first_of(["a", "b"], 7)
    ('a, b', 'a, b and 5 more')
    """
    more = f" and {number - len(texts)} more" if number > len(texts) else ""
    return ", ".join(texts) + more


def problem_list(problems: Sequence[Problem]) -> str:
    """All problems as text, one a line, each advice once at the end.

    >>> print(problem_list([Problem(kind="dtype", found="float32", advice="store label maps as integers")]))
    dtype: found float32
    What to do: store label maps as integers
    """
    lines = [problem.sentence() for problem in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        lines.append(f"... and {len(problems) - SHOWN_PROBLEMS} more (all of them with --json)")
    if len(lines) > 1:
        lines.insert(0, f"{len(problems)} problems:")
    advice = list(dict.fromkeys(problem.advice for problem in problems if problem.advice))
    return "\n".join(lines + [f"What to do: {text}" for text in advice])
