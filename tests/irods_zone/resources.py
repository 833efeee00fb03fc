"""Storage resources: where replicas lie, and the trees that resources form.

`unixfilesystem` stores and `passthru` passes on to its child; any other type is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from irods_zone.catalogue import Catalogue, timestamp
from irods_zone.errors import Code, IrodsError, refuse

DEFAULT = "demoResc"


@dataclass(frozen=True)
class Resource:
    """A resource that stores."""

    resc_id: int
    name: str
    vault: Path
    hierarchy: str


def add(catalogue: Catalogue, name: str, kind: str, place: str, context: str = "") -> None:
    """Enter a resource; `place` is host and folder with a colon between."""
    if catalogue.value("select 1 from r_resc_main where resc_name = ?", name):
        raise IrodsError(Code.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME, f"resource {name!r} exists")
    if kind not in ("unixfilesystem", "passthru"):
        raise refuse(f"a resource of type {kind!r}", Code.SYS_INVALID_RESC_TYPE)
    host, _, folder = place.partition(":")
    now = timestamp()
    catalogue.execute(
        "insert into r_resc_main(resc_id, resc_name, zone_name, resc_type_name, resc_net, resc_def_path, resc_context, "
        "create_ts, modify_ts) values(?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(catalogue.next_id(), name, catalogue.zone(), kind, host, folder, context, now, now),
    )


def remove(catalogue: Catalogue, name: str) -> None:
    resc_id = id_of(catalogue, name)
    if catalogue.value("select 1 from r_data_main where resc_id = ?", resc_id) or children(catalogue, resc_id):
        raise IrodsError(Code.CAT_INVALID_ARGUMENT, f"resource {name!r} is in use")
    catalogue.execute("delete from r_objt_metamap where object_id = ?", resc_id)
    catalogue.execute("delete from r_resc_main where resc_id = ?", resc_id)


def id_of(catalogue: Catalogue, name: str) -> int:
    found = catalogue.value("select resc_id from r_resc_main where resc_name = ?", name)
    if found is None:
        raise IrodsError(Code.SYS_RESC_DOES_NOT_EXIST, f"resource {name!r} does not exist")
    return int(found)


def children(catalogue: Catalogue, resc_id: int) -> list[str]:
    found = catalogue.rows("select resc_name from r_resc_main where resc_parent = ? order by resc_id", str(resc_id))
    return [each[0] for each in found]


def set_parent(catalogue: Catalogue, child: str, parent: str | None) -> None:
    """Hang a resource under another, or take it off."""
    above = str(id_of(catalogue, parent)) if parent else ""
    catalogue.execute("update r_resc_main set resc_parent = ? where resc_id = ?", above, id_of(catalogue, child))
    for name, resc_id in catalogue.rows("select resc_name, resc_id from r_resc_main"):
        catalogue.execute("update r_data_main set resc_hier = ? where resc_id = ?", hierarchy(catalogue, name), resc_id)


def modify(catalogue: Catalogue, name: str, field: str, value: str) -> None:
    columns = {"context": "resc_context", "comment": "r_comment", "info": "resc_info", "status": "resc_status",
               "host": "resc_net", "path": "resc_def_path", "type": "resc_type_name", "name": "resc_name",
               "free_space": "free_space"}  # fmt: skip
    if field not in columns:
        raise IrodsError(Code.CAT_INVALID_ARGUMENT, f"resource field {field!r} is not known")
    catalogue.execute(f"update r_resc_main set {columns[field]} = ? where resc_id = ?", value, id_of(catalogue, name))


def hierarchy(catalogue: Catalogue, name: str) -> str:
    """Names from the root down to a resource."""
    parent = catalogue.value(
        "select p.resc_name from r_resc_main c join r_resc_main p on c.resc_parent = cast(p.resc_id as text) "
        "where c.resc_name = ?",
        name,
    )
    return f"{hierarchy(catalogue, parent)};{name}" if parent else name


def require_root(catalogue: Catalogue, name: str) -> None:
    """Raise for the name of a resource that is not there, or hangs under another."""
    id_of(catalogue, name)
    if ";" in hierarchy(catalogue, name):
        raise IrodsError(Code.DIRECT_CHILD_ACCESS, f"resource {name!r} is a child")


def for_new_replica(catalogue: Catalogue, options: dict[str, str]) -> Resource:
    """The storing resource that a request leads to."""
    if "resc_hier" in options:
        return leaf(catalogue, options["resc_hier"].split(";")[-1])
    name = options.get("destRescName") or options.get("rescName") or options.get("defRescName") or DEFAULT
    require_root(catalogue, name)
    return leaf(catalogue, name)


def leaf(catalogue: Catalogue, name: str) -> Resource:
    """A resource itself if it stores, else its first child that does."""
    resc_id = id_of(catalogue, name)
    kind, folder = (
        catalogue.row("select resc_type_name, resc_def_path from r_resc_main where resc_id = ?", resc_id) or ()
    )
    if kind == "unixfilesystem":
        return Resource(resc_id, name, Path(folder), hierarchy(catalogue, name))
    below = children(catalogue, resc_id)
    if not below:
        raise IrodsError(Code.HIERARCHY_ERROR, f"resource {name!r} has nowhere to store")
    return leaf(catalogue, below[0])
