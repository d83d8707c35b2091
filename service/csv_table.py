"""CSV that strangers send, as RFC 4180 has it: UTF-8, commas, a header, as many cells in each row."""

import csv
import io
from collections import Counter
from dataclasses import dataclass

from service.file_faults import FileFaults
from service.uploads import shown

MAX_ROWS = 20_000
"""More than 50 seeds of 256 points each."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the line of the file it ends on, and column → cell without the spaces around it."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """The columns in their order, and the rows."""

    columns: list[str]
    rows: list[Row]


def read_table(data: bytes, faults: FileFaults, max_rows: int = MAX_ROWS) -> Table | None:
    """The table in `data`, without empty lines. None if there is none; `faults` says why, and which rows were dropped.

    A byte order mark is allowed. There are at most `max_rows` rows.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        faults.add("it is not UTF-8", "save it as CSV in UTF-8")
        return None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] | None = None
    rows: list[Row] = []
    try:
        for cells in reader:
            if not any(cells):
                continue
            cells = [cell.strip() for cell in cells]
            if columns is None:
                columns = cells
            elif len(rows) == max_rows:
                faults.add(f"it has more than {max_rows} rows", "leave out what is not about the uploaded images")
                return None
            elif len(cells) != len(columns):
                message = f"line {reader.line_num} has {len(cells)} cells, the header has {len(columns)}"
                faults.add(message, "put text with commas between double quotes", f"line {reader.line_num}")
            else:
                rows.append(Row(reader.line_num, dict(zip(columns, cells, strict=True))))
    except csv.Error:
        faults.add(f"line {reader.line_num} is not CSV", "separate cells by commas, double the quotes inside quotes")
        return None
    if columns is None:
        faults.add("it is empty", "begin with a line that names the columns")
        return None
    twice = [name for name, count in Counter(columns).items() if count > 1]
    for name in twice:
        faults.add(f"the column `{shown(name)}` is there twice", "name each column once", "line 1")
    return None if twice else Table(columns, rows)
