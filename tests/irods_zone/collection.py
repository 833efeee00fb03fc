"""Collections: made, removed, moved, touched.

What is in them is removed or moved with them; permissions are checked on everything that goes.
"""

from __future__ import annotations

from typing import Any

from irods_zone import access, objects
from irods_zone.catalogue import Actor, Catalogue, split, timestamp
from irods_zone.errors import Code, IrodsError

BELOW = "(coll_name = ?1 or substr(coll_name, 1, length(?1) + 1) = ?1 || '/')"


def create(catalogue: Catalogue, actor: Actor, path: str, parents: bool) -> None:
    """Make a collection; with `parents` also those above it, and none is no error."""
    with catalogue.transaction():
        if catalogue.collection(path) is not None:
            if parents:
                return
            raise IrodsError(Code.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME, f"collection {path!r} exists")
        parent_path, _ = split(path)
        if catalogue.collection(parent_path) is None and parents and parent_path != "/":
            create(catalogue, actor, parent_path, parents)
        parent = catalogue.existing_collection(parent_path)
        access.require(catalogue, actor, parent.coll_id, access.MODIFY_OBJECT, f"create in {parent_path}")
        if catalogue.replicas(path):
            raise IrodsError(Code.CAT_NAME_EXISTS_AS_DATAOBJ, f"{path!r} is a data object")
        access.start_access(catalogue, actor, parent, objects.enter_collection(catalogue, actor, path))
        objects.touch_collection(catalogue, parent.coll_id)


def remove(catalogue: Catalogue, actor: Actor, path: str, options: dict[str, str], unregister: bool) -> None:
    """Remove a collection: into the trash, or for good if forced, unregistered or there already."""
    with catalogue.transaction():
        collection = catalogue.existing_collection(path)
        inside = content(catalogue, path)
        if len(inside) > 1 and "recursiveOpr" not in options:
            raise IrodsError(Code.CAT_COLLECTION_NOT_EMPTY, f"collection {path!r} is not empty")
        for object_id, what in inside:
            access.require(catalogue, actor, object_id, access.DELETE_OBJECT, f"remove {what}")
        trash = f"/{catalogue.zone()}/trash/"
        if unregister or "forceFlag" in options or path.startswith(trash):
            delete(catalogue, path, unregister)
            return
        target = objects.trash_path(catalogue, actor, path)
        objects.make_trash_folders(catalogue, actor, split(target)[0])
        place(catalogue, collection.path, target)


def content(catalogue: Catalogue, path: str) -> list[tuple[int, str]]:
    """Ids and names of a collection and all in it."""
    colls = catalogue.rows(f"select coll_id, coll_name from r_coll_main where {BELOW}", path)
    found: list[tuple[Any, ...]] = catalogue.rows(
        f"select distinct data_id, data_name from r_data_main join r_coll_main using(coll_id) where {BELOW}", path
    )
    return [(each[0], each[1]) for each in colls + found]


def delete(catalogue: Catalogue, path: str, unregister: bool) -> None:
    """Forget a collection and all in it."""
    paths = catalogue.rows(
        f"select distinct coll_name || '/' || data_name from r_data_main join r_coll_main using(coll_id) where {BELOW}",
        path,
    )
    for (each,) in paths:
        objects.delete(catalogue, catalogue.replicas(each), unregister)
    for coll_id, _ in content(catalogue, path):
        for table, key in (("r_coll_main", "coll_id"), ("r_objt_metamap", "object_id"), ("r_objt_access", "object_id")):
            catalogue.execute(f"delete from {table} where {key} = ?", coll_id)


def place(catalogue: Catalogue, source: str, target: str) -> None:
    """Give a collection and all below it new paths."""
    rows = catalogue.rows(f"select coll_id, coll_name from r_coll_main where {BELOW}", source)
    for coll_id, old in rows:
        new = target + old[len(source) :]
        catalogue.execute(
            "update r_coll_main set coll_name = ?, parent_coll_name = ? where coll_id = ?", new, split(new)[0], coll_id
        )


def rename(catalogue: Catalogue, actor: Actor, source: str, target: str) -> None:
    with catalogue.transaction():
        collection = catalogue.existing_collection(source)
        access.require(catalogue, actor, collection.coll_id, access.DELETE_OBJECT, f"move {source}")
        if target == source or target.startswith(f"{source}/"):
            raise IrodsError(Code.USER_INPUT_PATH_ERR, f"{source!r} cannot move into itself")
        objects.check_free(catalogue, actor, target)
        place(catalogue, source, target)


def touch(catalogue: Catalogue, actor: Actor, tokens: objects.Tokens, path: str, options: dict[str, Any]) -> None:
    """Set the time of change of a collection or object; an object that does not exist is made unless told not to."""
    seconds = options.get("seconds_since_epoch")
    moment = timestamp(None if seconds is None else float(seconds))
    if "reference" in options:
        moment = time_of(catalogue, str(options["reference"]))
    collection = catalogue.collection(path)
    if collection is not None:
        access.require(catalogue, actor, collection.coll_id, access.MODIFY_OBJECT, f"touch {path}")
        catalogue.execute("update r_coll_main set modify_ts = ? where coll_id = ?", moment, collection.coll_id)
        return
    if not catalogue.replicas(path):
        if options.get("no_create"):
            return
        flags = objects.WRONLY | objects.CREATE
        objects.close_handle(catalogue, tokens, objects.open_object(catalogue, actor, tokens, path, flags, {}), {})
    replicas = catalogue.replicas(path)
    access.require(catalogue, actor, replicas[0].data_id, access.MODIFY_OBJECT, f"touch {path}")
    number = options.get("replica_number", objects.choose(catalogue, replicas, {}).number)
    catalogue.execute(
        "update r_data_main set modify_ts = ? where data_id = ? and data_repl_num = ?",
        moment,
        replicas[0].data_id,
        number,
    )


def time_of(catalogue: Catalogue, path: str) -> str:
    """Time of change of a collection or object."""
    found = catalogue.value("select modify_ts from r_coll_main where coll_name = ?", path)
    if found is None:
        data_id = catalogue.existing_object(path)[0].data_id
        found = catalogue.value("select max(modify_ts) from r_data_main where data_id = ?", data_id)
    return str(found)
