"""Rows that lie in iRODS: can they be staged from here? Opens no connection."""

from __future__ import annotations

from collections.abc import Iterator

from snakescope import layout
from snakescope.errors import InputError, Problem
from snakescope.pipeline import Pipeline, SheetWire, Step
from snakescope.samples import Sheet
from snakescope.samples.cells import REMOTE
from snakescope.zone.address import Address, environment, environment_file

LOGIN = "Log in once with iinit, or name the file in IRODS_ENVIRONMENT_FILE."


def check_remote(pipeline: Pipeline, sheet: Sheet, window: int) -> list[Problem]:
    """Every reason why rows that lie in iRODS cannot be staged.

    Parameters
    ----------
    pipeline, sheet
        What was read.
    window
        How many staged copies may wait at once for the first step that reads them.
    """
    problems = list(_check_other_columns(pipeline, sheet))
    servers: dict[Address, int] = {}
    for row in sheet.rows:
        if not row.remote:
            continue
        try:
            server = Address.parse(row.path).server
            servers[server] = servers.get(server, 0) + 1
        except InputError as error:
            problems += [
                Problem(f"{sheet.where(row)}: path", str(item).replace("\n    ", " ")) for item in error.problems
            ]
    for server, count in servers.items():
        problems += _check_server(server, f"{sheet.where()}: {count} rows lie in iRODS ({server})")
    for step in pipeline.steps.values():
        problems += _check_window(step, sheet, window)
    return problems


def _check_other_columns(pipeline: Pipeline, sheet: Sheet) -> Iterator[Problem]:
    wires = [wire for step in pipeline.steps.values() for wire in step.wires.values() if isinstance(wire, SheetWire)]
    for column in sorted({wire.column for wire in wires} - {"path"}):
        for row in sheet.rows:
            if row.cell(column).startswith(REMOTE):
                fix = "Bring the file here, and write its path on this machine."
                yield Problem(f"{sheet.where(row)}: {column}", "only what is in the column path can lie in iRODS", fix)


def _check_server(server: Address, where: str) -> Iterator[Problem]:
    file = environment_file()
    if not file.is_file() and not (server.host and server.user):
        yield Problem(where, f"there is no environment file {file}", LOGIN)
        return
    try:
        found = environment(server)
    except InputError as error:
        yield from (Problem(where, str(item).replace("\n    ", " ")) for item in error.problems)
        return
    if found.user != "anonymous" and not found.password_file.is_file():
        yield Problem(where, f"there is no password of {found.user} in {found.password_file}", "Log in with iinit.")


def _check_window(step: Step, sheet: Sheet, window: int) -> Iterator[Problem]:
    """A job that reads more copies at once than may lie here would never start."""
    if not step.over or not any(isinstance(wire, SheetWire) and wire.column == "path" for wire in step.wires.values()):
        return
    try:
        groups = sheet.groups(step.over)
    except InputError:
        return  # told already
    for name, rows in groups.items():
        count = sum(row.remote for row in rows)
        if count > window:
            message = f"step {step.name!r} reads {count} staged images of {name!r} at once; at most {window} may wait"
            yield Problem(f"{layout.CONFIG}: stage_window", message, f"Set it to {count} or more.")
