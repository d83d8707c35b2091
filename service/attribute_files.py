"""`classes.csv`: what is said about each image as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from service.csv_table import Table, read_table
from service.file_faults import FileFaults
from service.keypoint_files import listed
from service.label_schema import Attribute
from service.project_spec import CheckedAttributes, complaints_of
from service.seed_names import SeedNames
from service.uploads import shown

MAX_BYTES = 2**20

_IMAGE = "image"
_SCHEMA: TypeAdapter[list[Attribute]] = TypeAdapter(CheckedAttributes)


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes of all seeds. A seed that something is wrong with is left out."""

    schema: list[Attribute]
    values: dict[str, list[int]]
    """NAME → the index of each attribute's value, -1 where it is not known."""


def read_attributes(
    data: bytes, seeds: SeedNames, schema: Sequence[Attribute] | None, faults: FileFaults
) -> Attributes | None:
    """The attributes in a CSV with a column `image` and one for each attribute, and a row for each image.

    Without a `schema` the columns are the attributes, and the values found in each, in the order of the alphabet, its
    values. An empty cell is a value that is not known. None if it cannot be read, which `faults` then says.
    """
    table = read_table(data, faults)
    if table is None or not _has_columns(table, schema, faults):
        return None
    known = list(schema) if schema is not None else _schema_of(table, faults)
    if known is None:
        return None
    values: dict[str, list[int]] = {}
    for row in table.rows:
        where, name = f"line {row.line}", seeds.find(row.cells[_IMAGE])
        if name is None:
            faults.add(f"{where}: no image is called {shown(row.cells[_IMAGE])!r}", "write NAME of images/NAME", where)
        elif name in values:
            faults.add(f"{where}: {shown(name)} is there twice", "keep one row for each image", where)
        found = []
        for attribute in known:
            cell = row.cells[attribute.name]
            if cell and cell not in attribute.values:
                remedy = f"write one of {listed(attribute.values)}, or nothing if it is not known"
                faults.add(f"{where}: {attribute.name} has no value {shown(cell)!r}", remedy, where)
            found.append(attribute.values.index(cell) if cell in attribute.values else -1)
        if name is not None:
            values[name] = found
    if missing := [name for name in seeds.all if name not in values]:
        faults.add(f"there is no row for {listed(missing)}", "add a row for each image")
    for index, attribute in enumerate(known):
        if values and not missing and all(row[index] < 0 for row in values.values()):
            faults.add(f"no seed has a value of {attribute.name}", "fill in what is known, or leave the column out")
    return Attributes(known, values)


def _has_columns(table: Table, schema: Sequence[Attribute] | None, faults: FileFaults) -> bool:
    columns = table.columns
    if _IMAGE not in columns or len(columns) < 2:
        remedy = "begin with a line such as image,species"
        faults.add(f"its columns are {listed(columns)}: `image` and attributes are wanted", remedy, "line 1")
        return False
    if schema is None:
        return True
    wanted = {_IMAGE, *(attribute.name for attribute in schema)}
    for message, some in (("it lacks the columns", wanted - {*columns}), ("it has the columns", {*columns} - wanted)):
        if some:
            remedy = "have the column `image` and one for each attribute of project.json"
            faults.add(f"{message} {listed(sorted(some))}", remedy, "line 1")
    return wanted == set(columns)


def _schema_of(table: Table, faults: FileFaults) -> list[Attribute] | None:
    columns = {
        column: sorted({row.cells[column] for row in table.rows} - {""}) for column in table.columns if column != _IMAGE
    }
    few = {column: values for column, values in columns.items() if len(values) < 2}
    for name, values in few.items():
        told, remedy = "is empty", "fill in what is known, or leave the column out"
        if values:
            told = f"has one value only, {shown(values[0])!r}"
            remedy = "leave the column out, or list all values it may have in `attributes` of project.json"
        faults.add(f"the column `{shown(name)}` {told}", remedy, "line 1")
    attributes = [{"name": column, "values": values} for column, values in columns.items() if column not in few]
    if not attributes:
        return None
    try:
        schema = _SCHEMA.validate_python(attributes)
    except ValidationError as error:
        for complaint in complaints_of(error):
            place = (complaint.field or "").split(".")
            column = attributes[int(place[0])]["name"] if place[0].isdigit() else ""
            message = f"column `{shown(str(column))}`: {complaint.message}" if column else complaint.message
            remedy = "correct it, or list `attributes` with all their values in project.json"
            faults.add(message, remedy, "line 1")
        return None
    return None if few else schema
