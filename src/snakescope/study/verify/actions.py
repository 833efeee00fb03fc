"""The actions of a run crate: the engine's, those of the steps, the jobs', and how they hang together.

The profile's validator accepts a crate without any of the upper two, and a failed job that does not say why.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

JOBS = frozenset({"CreateAction", "ActivateAction"})


class Actions:
    """Takes the entities of a crate one by one; keeps ids only."""

    def __init__(self) -> None:
        self._engines: dict[str, list[str]] = {}
        self._controls: dict[str, list[str]] = {}
        self._jobs: dict[str, str | None] = {}
        self._silent: list[str] = []

    def take(self, id_: str, types: list[Any], entity: dict[str, Any]) -> None:
        """Take an entity into account."""
        if "OrganizeAction" in types:
            self._engines[id_] = _ids(entity.get("object"))
        elif "ControlAction" in types:
            self._controls[id_] = _ids(entity.get("object"))
        elif JOBS & set(types):
            self._jobs[id_] = next(iter(_ids(entity.get("instrument"))), None)
            if "Failed" in str(entity.get("actionStatus")) and not entity.get("error"):
                self._silent.append(id_)

    def messages(self, main: str | None) -> Iterator[str]:
        """What is wrong with them; `main` is the id of the workflow, whose action is the run as a whole."""
        jobs = {id_ for id_, instrument in self._jobs.items() if instrument != main}
        for id_ in self._silent:
            if id_ in jobs:
                yield f"{id_!r} has failed and does not say why (error)"
        if not jobs or main is None:  # there is no saying which of them is the run as a whole
            return
        if not self._engines:
            yield "no OrganizeAction says which engine ran the steps"
        organised = {target for targets in self._engines.values() for target in targets}
        controlled = {target for targets in self._controls.values() for target in targets}
        for id_ in sorted(self._controls.keys() - organised) if self._engines else ():
            yield f"the step {id_!r} belongs to no run of the engine (OrganizeAction)"
        for id_ in sorted(jobs - controlled):
            yield f"the job {id_!r} belongs to no step (ControlAction)"


def _ids(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [str(item["@id"]) for item in items if isinstance(item, dict) and "@id" in item]
