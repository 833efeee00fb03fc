"""What the catalogue is told without bytes passing: files registered where they lie, and rows of replicas changed.

Administrators only.
"""

from __future__ import annotations

from pathlib import Path

from irods_zone import access, objects, resources
from irods_zone.catalogue import Actor, Catalogue, Replica, split
from irods_zone.errors import Code, IrodsError, refuse


def register(catalogue: Catalogue, actor: Actor, path: str, options: dict[str, str]) -> None:
    """Enter a file or folder of the server's disk where it lies."""
    source = Path(options["filePath"])
    if not actor.is_admin:
        raise IrodsError(Code.CAT_NO_ACCESS_PERMISSION, f"{actor.name} may not register {source}")
    if "regRepl" in options:
        raise refuse("registering a file as a further replica")
    with catalogue.transaction():
        register_tree(catalogue, actor, source, path, options)


def register_tree(catalogue: Catalogue, actor: Actor, source: Path, path: str, options: dict[str, str]) -> None:
    """Enter one file, or a folder with all in it."""
    if source.is_dir():
        objects.check_free(catalogue, actor, path)
        parent = catalogue.existing_collection(split(path)[0])
        access.start_access(catalogue, actor, parent, objects.enter_collection(catalogue, actor, path))
        for each in sorted(source.iterdir()):
            register_tree(catalogue, actor, each, f"{path}/{each.name}", options)
        return
    objects.check_free(catalogue, actor, path)
    if not source.is_file():
        raise IrodsError(Code.UNIX_FILE_OPEN_ERR - 2, f"no file {source}")
    parent = catalogue.existing_collection(split(path)[0])
    resource, data_id = resources.for_new_replica(catalogue, options), catalogue.next_id()
    digest = objects.checksum_of(source) if {"regChksum", "verifyChksum"} & options.keys() else ""
    size = int(options.get("dataSize") or source.stat().st_size)
    replica = Replica(data_id, 0, parent.coll_id, split(path)[1], size, objects.GOOD, digest, source, resource.name,
                      resource.hierarchy)  # fmt: skip
    objects.enter_replica(catalogue, actor, replica, resource.resc_id)
    access.start_access(catalogue, actor, parent, data_id)


CHANGEABLE = {
    "replStatus": "data_is_dirty",
    "dataSize": "data_size",
    "chksum": "data_checksum",
    "dataType": "data_type_name",
    "dataComments": "r_comment",
    "dataExpiry": "data_expiry_ts",
    "dataCreate": "create_ts",
    "dataModify": "modify_ts",
    "dataAccessTime": "access_ts",
    "statusString": "data_status",
    "version": "data_version",
    "dataMode": "data_mode",
}


def change_row(catalogue: Catalogue, actor: Actor, path: str, number: int | None, changes: dict[str, str]) -> None:
    """Change what the catalogue says of a replica, or of all replicas (`number` is None); administrators only."""
    if not actor.is_admin:
        raise IrodsError(Code.CAT_NO_ACCESS_PERMISSION, f"{actor.name} may not change system metadata")
    data_id = catalogue.existing_object(path)[0].data_id
    for key, value in changes.items():
        if key in ("all", "replNum", "irodsAdmin", "openType"):
            continue
        column = CHANGEABLE.get(key)
        if column is None:
            raise refuse(f"changing {key!r} of a data object")
        value = value.rjust(11, "0") if column.endswith("_ts") else value
        catalogue.execute(
            f"update r_data_main set {column} = ?1 where data_id = ?2 and (?3 is null or data_repl_num = ?3)",
            *(value, data_id, number),
        )
