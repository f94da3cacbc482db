"""A row of the fault matrix, and the table that the programs of rows_*.py add themselves to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from faults.part import ODD, Part

DIFFERENT = (rf"on rank {ODD}\b", rf"on rank (?!{ODD}\b)", r"number \d+")  # of ranks that ask for different collectives


@dataclass(frozen=True)
class Row:
    name: str
    fault: str
    program: Callable[[Part], None]
    ranks: int = 2
    names: Sequence[str] = ()  # patterns that each rank's error has
    expect: str = "error"  # or "right": no error; "either": an error on some ranks, or right values
    within: float = 1  # seconds
    same: bool = True  # the same words on all ranks
    exits: Mapping[int, int] = field(default_factory=dict)  # ranks that end early, with that exit code
    absent: Sequence[int] = ()  # ranks that stop
    silent: Sequence[int] = ()  # ranks that need not raise
    output: str = ""  # a pattern of what the other ranks print
    group_timeout: float = 10
    control: bool = True  # whether the program without the fault is run too
    env: Mapping[str, str] = field(default_factory=dict)


ROWS: dict[str, Row] = {}


def row(*names: str, **options) -> Callable:
    """Adds a program to the matrix; its name and its docstring name the fault."""

    def add(program: Callable[[Part], None]) -> Callable[[Part], None]:
        name = program.__name__
        assert name not in ROWS and program.__doc__
        ROWS[name] = Row(name, program.__doc__.rstrip("."), program, names=names, **options)
        return program

    return add
