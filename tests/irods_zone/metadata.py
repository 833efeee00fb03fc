"""AVUs: add, set, remove, change and copy one by one, and several at once or none.

Lengths are counted in characters on writing, as the server does, so a value may be stored that no page of a general
query can carry. Any character but NUL is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from irods_zone import access
from irods_zone.catalogue import Actor, Catalogue, timestamp
from irods_zone.errors import Code, IrodsError, refuse
from irods_zone.wire import json_reply

NAME_LIMIT = VALUE_LIMIT = 2700
UNIT_LIMIT = 250
ENTITY_TYPES = {"data_object": "-d", "collection": "-C", "resource": "-R", "user": "-u"}
Avu = tuple[str, str, str]


@dataclass(frozen=True)
class Target:
    """What carries the AVUs; an owner by permission, or by being an administrator."""

    object_id: int
    path: str
    by_permission: bool


def find(catalogue: Catalogue, kind: str, name: str) -> Target:
    """Resolve the entity that an AVU call names."""
    if kind == "-d":
        replicas = catalogue.replicas(name)
        if not replicas:
            raise IrodsError(Code.CAT_UNKNOWN_FILE, f"data object {name!r} does not exist")
        return Target(replicas[0].data_id, name, True)
    if kind in ("-c", "-C"):
        return Target(catalogue.existing_collection(name).coll_id, name, True)
    if kind in ("-r", "-R"):
        found = catalogue.value("select resc_id from r_resc_main where resc_name = ?", name)
        code = Code.CAT_INVALID_RESOURCE
    elif kind == "-u":
        user, _, zone = name.partition("#")
        actor = catalogue.user(user, zone or catalogue.zone())
        found, code = actor and actor.user_id, Code.CAT_INVALID_USER
    else:
        raise IrodsError(Code.CAT_INVALID_ARGUMENT, f"entity type {kind!r} is not known")
    if found is None:
        raise IrodsError(code, f"{name!r} does not exist")
    return Target(found, name, False)


def allow(catalogue: Catalogue, actor: Actor, target: Target, needed: int, as_admin: bool) -> None:
    """Raise unless the actor may do it."""
    if as_admin and actor.is_admin:
        return
    if as_admin or (not target.by_permission and not actor.is_admin):
        raise IrodsError(Code.CAT_NO_ACCESS_PERMISSION, f"{actor.name} is no administrator")
    if target.by_permission:
        access.require(catalogue, actor, target.object_id, needed, f"change metadata of {target.path}")


def check(avu: Avu) -> None:
    """Raise for a triple that the catalogue's columns cannot hold."""
    for text, limit in zip(avu, (NAME_LIMIT, VALUE_LIMIT, UNIT_LIMIT), strict=True):
        if len(text) > limit:
            raise IrodsError(Code.CAT_SQL_ERR, f"AVU field of {len(text)} characters; at most {limit} fit")
        if "\0" in text:
            raise refuse("an AVU with a NUL character", Code.SYS_INVALID_INPUT_PARAM)
    if not avu[0] or not avu[1]:
        raise IrodsError(Code.CAT_INVALID_ARGUMENT, "AVU without name or value")


def meta_id(catalogue: Catalogue, avu: Avu) -> int:
    """Id of a triple; equal triples of all objects share one."""
    where = "meta_attr_name = ? and meta_attr_value = ? and meta_attr_unit = ?"
    found = catalogue.value(f"select meta_id from r_meta_main where {where}", *avu)
    if found is None:
        found, now = catalogue.next_id(), timestamp()
        catalogue.execute("insert into r_meta_main values(?, ?, ?, ?, ?, ?)", found, *avu, now, now)
    return int(found)


def attached(catalogue: Catalogue, object_id: int, avu: Avu) -> bool:
    """Whether the object has exactly that triple."""
    return bool(
        catalogue.value(
            "select 1 from r_objt_metamap o join r_meta_main m using(meta_id) where object_id = ? "
            "and meta_attr_name = ? and meta_attr_value = ? and meta_attr_unit = ?",
            object_id,
            *avu,
        )
    )


def attach(catalogue: Catalogue, object_id: int, avu: Avu) -> None:
    now = timestamp()
    catalogue.execute("insert into r_objt_metamap values(?, ?, ?, ?)", object_id, meta_id(catalogue, avu), now, now)


def detach(catalogue: Catalogue, object_id: int, avu: Avu, like: bool = False) -> int:
    """Remove what equals the triple, or what is like it, and count it. The unused triple itself stays."""
    compare = "like ? escape '\\'" if like else "= ?"
    return catalogue.execute(
        "delete from r_objt_metamap where object_id = ? and meta_id in (select meta_id from r_meta_main "
        f"where meta_attr_name {compare} and meta_attr_value {compare} and meta_attr_unit {compare})",
        object_id,
        *avu,
    )


def add(catalogue: Catalogue, object_id: int, avu: Avu) -> None:
    check(avu)
    if attached(catalogue, object_id, avu):
        raise IrodsError(Code.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME, f"AVU {avu} is already there")
    attach(catalogue, object_id, avu)


def replace(catalogue: Catalogue, object_id: int, avu: Avu) -> None:
    """Make the value the only one of its name; a single older one keeps its time of creation."""
    check(avu)
    older = catalogue.rows(
        "select meta_id from r_objt_metamap o join r_meta_main m using(meta_id) "
        "where object_id = ? and meta_attr_name = ?",
        object_id,
        avu[0],
    )
    if len(older) == 1:
        catalogue.execute(
            "update r_objt_metamap set meta_id = ?, modify_ts = ? where object_id = ? and meta_id = ?",
            meta_id(catalogue, avu),
            timestamp(),
            object_id,
            older[0][0],
        )
        return
    for each in older:
        catalogue.execute("delete from r_objt_metamap where object_id = ? and meta_id = ?", object_id, each[0])
    attach(catalogue, object_id, avu)


def remove(catalogue: Catalogue, object_id: int, avu: Avu, like: bool = False) -> None:
    if detach(catalogue, object_id, avu, like) == 0:
        raise IrodsError(Code.CAT_SUCCESS_BUT_WITH_NO_INFO, f"AVU {avu} is not there")


CHANGES: dict[str, tuple[int, Callable[[Catalogue, int, Avu], None]]] = {
    "add": (access.CREATE_METADATA, add),
    "set": (access.CREATE_METADATA, replace),
    "rm": (access.DELETE_METADATA, remove),
    "rmw": (access.DELETE_METADATA, lambda catalogue, target, avu: remove(catalogue, target, avu, like=True)),
}


def modify(catalogue: Catalogue, actor: Actor, arguments: list[str], as_admin: bool) -> None:
    """One call of the AVU interface: operation, entity type, name, then the triple or the second entity."""
    operation, kind, name, *rest = [*arguments, *[""] * 10][:10]
    if operation == "cp":
        copy(catalogue, actor, (kind, rest[0]), (name, rest[1]), as_admin)
        return
    if operation not in CHANGES:
        raise refuse(f"the AVU operation {operation!r}")
    needed, change = CHANGES[operation]
    with catalogue.transaction():
        target = find(catalogue, kind, name)
        allow(catalogue, actor, target, needed, as_admin)
        change(catalogue, target.object_id, (rest[0], rest[1], rest[2]))


def copy(
    catalogue: Catalogue, actor: Actor, source: tuple[str, str], destination: tuple[str, str], as_admin: bool
) -> None:
    """Copy all AVUs; `source` and `destination` are entity type and name."""
    with catalogue.transaction():
        origin, target = find(catalogue, *source), find(catalogue, *destination)
        allow(catalogue, actor, origin, access.READ_METADATA, as_admin)
        allow(catalogue, actor, target, access.CREATE_METADATA, as_admin)
        for avu in avus_of(catalogue, origin.object_id):
            if not attached(catalogue, target.object_id, avu):
                attach(catalogue, target.object_id, avu)


def avus_of(catalogue: Catalogue, object_id: int) -> list[Avu]:
    """All triples of an object, in order."""
    found = catalogue.rows(
        "select meta_attr_name, meta_attr_value, meta_attr_unit from r_objt_metamap join r_meta_main using(meta_id) "
        "where object_id = ? order by 1, 2, 3",
        object_id,
    )
    return [(each[0], each[1], each[2]) for each in found]


def apply_atomic(catalogue: Catalogue, actor: Actor, request: dict[str, Any]) -> str:
    """Several additions and removals, all or none; what is already so is no error. Returns the packed answer."""
    name, kind = str(request.get("entity_name")), ENTITY_TYPES.get(str(request.get("entity_type")), "")
    try:
        target = find(catalogue, kind, name)
    except IrodsError as error:
        text = f"Entity does not exist [entity_name={name}]"
        body = json_reply({"operation": "", "operation_index": -1, "error_message": text})
        raise IrodsError(Code.OBJ_PATH_DOES_NOT_EXIST, text, body) from error
    with catalogue.transaction():
        allow(catalogue, actor, target, access.MODIFY_OBJECT, bool(request.get("admin_mode")))
        for index, each in enumerate(request.get("operations") or []):
            try:
                apply_one(catalogue, target.object_id, each)
            except IrodsError as error:
                body = json_reply({"operation": each, "operation_index": index, "error_message": str(error)})
                raise IrodsError(Code.SYS_LIBRARY_ERROR, str(error), body) from error
    return json_reply({})


def apply_one(catalogue: Catalogue, object_id: int, operation: dict[str, Any]) -> None:
    """One change inside the atomic call."""
    avu = (str(operation.get("attribute", "")), str(operation.get("value", "")), str(operation.get("units", "")))
    check(avu)
    if operation.get("operation") == "remove":
        detach(catalogue, object_id, avu)
    elif operation.get("operation") != "add":
        raise IrodsError(Code.SYS_INVALID_INPUT_PARAM, f"operation {operation.get('operation')!r} is not known")
    elif not attached(catalogue, object_id, avu):
        attach(catalogue, object_id, avu)
