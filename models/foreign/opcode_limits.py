"""A look at a pickle's instructions before any of them runs.

A pickle is a program for a small stack machine. This reads it from end to end, allows only the instructions that hold
data, and bounds what the machine would need: how many values, how deeply nested, how large a memo, how large a tuple.
"""

import pickletools
from collections.abc import Callable
from typing import BinaryIO, cast

from models.checkpoint import CheckpointError
from models.foreign.bounded_file import BoundedFile

MOST_INSTRUCTIONS = 300_000
"""A training snapshot of a 1024² generator with its discriminator has under a tenth of that."""

DEEPEST = 200
"""Nesting of values. Hashing a tuple recurses in C without a check, so that depth must end here."""

PUSH = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "NONE", "NEWTRUE", "NEWFALSE"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_DICT", "EMPTY_SET", "GLOBAL"),
}
COMBINE = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "STACK_GLOBAL": 2, "REDUCE": 2, "NEWOBJ": 2, "BINPERSID": 1}
TUPLES = {"TUPLE1", "TUPLE2", "TUPLE3"}
FILL = {"APPEND": 1, "SETITEM": 2, "BUILD": 1}
FILL_FROM_MARK = {"APPENDS", "SETITEMS", "ADDITEMS"}


LARGEST_TUPLE = 10_000
"""Values in a tuple, those in its tuples included, as often as they occur. The memo lets a few instructions name one
tuple twice as large as the one before, again and again; whoever hashes the last one walks through all of it."""

Shape = tuple[int, int]
"""Of a value: how deeply it is nested, and how many values it is as a tuple, 1 for everything else."""


class Shapes:
    """The machine with every value replaced by its shape."""

    def __init__(self) -> None:
        self.stack: list[Shape] = []
        self.marks: list[int] = []
        self.memo: dict[int, Shape] = {}

    def _pop(self, count: int) -> Shape:
        """Take values off; the shape of a tuple of them."""
        if count > len(self.stack) - (self.marks[-1] if self.marks else 0):
            raise CheckpointError("is not a well-formed pickle: an instruction lacks its operands")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return 1 + max((depth for depth, _ in taken), default=0), 1 + sum(size for _, size in taken)

    def _pop_to_mark(self) -> Shape:
        if not self.marks:
            raise CheckpointError("is not a well-formed pickle: a mark is missing")
        shape = self._pop(len(self.stack) - self.marks[-1])
        self.marks.pop()
        return shape

    def _push(self, depth: int, size: int = 1) -> None:
        if depth > DEEPEST:
            raise CheckpointError(f"nests values more than {DEEPEST} deep; no checkpoint does")
        if size > LARGEST_TUPLE:
            raise CheckpointError(f"has a tuple of more than {LARGEST_TUPLE} values; no checkpoint does")
        self.stack.append((depth, size))

    def _top(self) -> Shape:
        """Take off the uppermost value."""
        depth, size = self._pop(1)
        return depth - 1, size - 1

    def _fill(self, inside: Shape) -> None:
        """What was taken off, of the shape `inside` together, went into the value that is on top now."""
        depth, size = self._top()
        self._push(max(depth, inside[0]), size)

    def _remember(self, index: int) -> None:
        # The memo is an array as long as its largest index.
        if index > len(self.memo):
            raise CheckpointError(f"is not a well-formed pickle: memo entry {index} comes before its predecessors")
        self.memo[index] = self._top()
        self._push(*self.memo[index])

    def _recall(self, index: int) -> None:
        if index not in self.memo:
            raise CheckpointError(f"is not a well-formed pickle: there is no memo entry {index}")
        self._push(*self.memo[index])

    def step(self, name: str, argument: object) -> None:
        """Follow one instruction.

        Raises:
            CheckpointError: it is not one that stores data, or breaks a bound.
        """
        index = argument if isinstance(argument, int) else 0
        if name in PUSH:
            self._push(0)
        elif name in COMBINE:
            depth, size = self._pop(COMBINE[name])
            self._push(depth, size if name in TUPLES else 1)
        elif name in FILL:
            self._fill(self._pop(FILL[name]))
        elif name in FILL_FROM_MARK:
            self._fill(self._pop_to_mark())
        elif handler := HANDLERS.get(name):
            handler(self, index)
        else:
            raise CheckpointError(f"uses the pickle instruction {name}, which no checkpoint needs; nothing was run")


def _check_protocol(_: Shapes, version: int) -> None:
    if not 2 <= version <= 5:
        raise CheckpointError(f"is a pickle of protocol {version}; 2 to 5 are understood")


HANDLERS: dict[str, Callable[[Shapes, int], object]] = {
    "PROTO": _check_protocol,
    "FRAME": lambda _machine, _: None,
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, _: machine._push(*machine._pop_to_mark()),
    "POP": lambda machine, _: machine._pop(1),
    "POP_MARK": lambda machine, _: machine._pop_to_mark(),
    "MEMOIZE": lambda machine, _: machine._remember(len(machine.memo)),
    "BINPUT": lambda machine, index: machine._remember(index),
    "LONG_BINPUT": lambda machine, index: machine._remember(index),
    "BINGET": lambda machine, index: machine._recall(index),
    "LONG_BINGET": lambda machine, index: machine._recall(index),
    "STOP": lambda machine, _: machine._pop(1),
}


def check_instructions(file: BoundedFile, follow: Callable[[str, int, int], None] | None = None) -> None:
    """Read one pickle from here to its end without running it, and go back to where it began.

    Args:
        follow: told the name of each instruction and where it begins and ends in the file.

    Raises:
        CheckpointError: it is truncated, malformed, too large, or does more than hold data.
    """
    start = file.tell()
    machine = Shapes()
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(cast("BinaryIO", file))):
            if count >= MOST_INSTRUCTIONS:
                raise CheckpointError(f"has more than {MOST_INSTRUCTIONS} pickle instructions; no checkpoint does")
            machine.step(opcode.name, argument)
            if follow:
                follow(opcode.name, cast("int", position), file.tell())
    except CheckpointError:
        raise
    except (ValueError, UnicodeError, OverflowError, MemoryError) as error:
        raise CheckpointError(f"is not a well-formed pickle ({error})") from error
    file.seek(start)
