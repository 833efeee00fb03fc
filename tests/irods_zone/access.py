"""Who may do what: permission levels, groups, inheritance. The levels are linear, as the server's are.

Knows nothing of queries; those hide what may not be seen by themselves.
"""

from __future__ import annotations

from irods_zone.catalogue import Actor, Catalogue, Collection, split, timestamp
from irods_zone.errors import Code, IrodsError

NULL = 1000
READ_METADATA = 1040
READ_OBJECT = 1050
CREATE_METADATA = 1070
DELETE_METADATA = 1090
MODIFY_OBJECT = 1120
DELETE_OBJECT = 1130
OWN = 1200
LEVELS = {
    "null": NULL,
    "execute": 1010,
    "read_annotation": 1020,
    "read_system_metadata": 1030,
    "read_metadata": READ_METADATA,
    "read_object": READ_OBJECT,
    "write_annotation": 1060,
    "create_metadata": CREATE_METADATA,
    "modify_metadata": 1080,
    "delete_metadata": DELETE_METADATA,
    "administer_object": 1100,
    "create_object": 1110,
    "modify_object": MODIFY_OBJECT,
    "delete_object": DELETE_OBJECT,
    "create_token": 1140,
    "delete_token": 1150,
    "curate": 1160,
    "own": OWN,
}
SHORT = {"read": "read_object", "write": "modify_object"}


def level(catalogue: Catalogue, actor: Actor, object_id: int) -> int:
    """Highest level that the actor has on a data object or collection, by himself or through a group."""
    found = catalogue.value(
        "select max(access_type_id) from r_objt_access a join r_user_group g on g.group_user_id = a.user_id "
        "where a.object_id = ? and g.user_id = ?",
        object_id,
        actor.user_id,
    )
    return int(found or NULL)


def require(catalogue: Catalogue, actor: Actor, object_id: int, needed: int, what: str) -> None:
    """Raise unless the actor has that level; an administrator has no more here than anybody."""
    if level(catalogue, actor, object_id) < needed:
        raise IrodsError(Code.CAT_NO_ACCESS_PERMISSION, f"{actor.name} lacks the permission to {what}")


def set_level(catalogue: Catalogue, object_id: int, user_id: int, value: int) -> None:
    """Give a user or group exactly that level."""
    if value == NULL:
        catalogue.execute("delete from r_objt_access where object_id = ? and user_id = ?", object_id, user_id)
        return
    now = timestamp()
    catalogue.execute(
        "insert into r_objt_access values(?, ?, ?, ?, ?) on conflict(object_id, user_id) "
        "do update set access_type_id = excluded.access_type_id, modify_ts = excluded.modify_ts",
        object_id,
        user_id,
        value,
        now,
        now,
    )


def start_access(catalogue: Catalogue, actor: Actor, parent: Collection, object_id: int) -> None:
    """Permissions of something new: what its collection passes on, and own for its maker."""
    if parent.inherits:
        for user_id, value in catalogue.rows(
            "select user_id, access_type_id from r_objt_access where object_id = ?", parent.coll_id
        ):
            set_level(catalogue, object_id, user_id, value)
    set_level(catalogue, object_id, actor.user_id, OWN)


def change_access(
    catalogue: Catalogue, actor: Actor, path: str, wanted: str, user: tuple[str, str], recursive: bool
) -> None:
    """What `ichmod` does.

    Parameters
    ----------
    wanted
        A level, `inherit` or `noinherit`; with `admin:` before it an administrator needs no permission himself.
    user
        Name and zone; an empty zone is this one.
    """
    as_admin = wanted.startswith("admin:")
    name = wanted.removeprefix("admin:")
    name = SHORT.get(name, name).replace(" ", "_")
    if as_admin and not actor.is_admin:
        raise IrodsError(Code.CAT_NO_ACCESS_PERMISSION, f"{actor.name} is no administrator")
    if name not in LEVELS and name not in ("inherit", "noinherit"):
        raise IrodsError(Code.CAT_INVALID_ARGUMENT, f"permission {wanted!r} is not known")
    with catalogue.transaction():
        targets = targets_of(catalogue, path, recursive)
        if not as_admin:
            for object_id, _ in targets:
                require(catalogue, actor, object_id, OWN, f"change access of {path}")
        apply_change(catalogue, targets, name, user)


def apply_change(catalogue: Catalogue, targets: list[tuple[int, bool]], name: str, user: tuple[str, str]) -> None:
    """Write the new level or inheritance to every target."""
    if name in ("inherit", "noinherit"):
        flag = "1" if name == "inherit" else "0"
        for object_id, is_collection in targets:
            if is_collection:
                catalogue.execute("update r_coll_main set coll_inheritance = ? where coll_id = ?", flag, object_id)
        return
    found = catalogue.user(user[0], user[1] or catalogue.zone())
    if found is None:
        raise IrodsError(Code.CAT_INVALID_USER, f"user {'#'.join(user)} does not exist")
    for object_id, _ in targets:
        set_level(catalogue, object_id, found.user_id, LEVELS[name])


def targets_of(catalogue: Catalogue, path: str, recursive: bool) -> list[tuple[int, bool]]:
    """Ids that a change of access reaches, each with whether it is a collection."""
    collection = catalogue.collection(path)
    if collection is None:
        split(path)
        found = catalogue.replicas(path)
        if not found:
            raise IrodsError(Code.CAT_UNKNOWN_COLLECTION, f"{path!r} does not exist")
        return [(found[0].data_id, False)]
    if not recursive:
        return [(collection.coll_id, True)]
    below = "coll_name = ?1 or substr(coll_name, 1, length(?1) + 1) = ?1 || '/'"
    collections = catalogue.rows(f"select coll_id from r_coll_main where {below}", path)
    objects = catalogue.rows(
        f"select distinct data_id from r_data_main where coll_id in (select coll_id from r_coll_main where {below})",
        path,
    )
    return [(each[0], True) for each in collections] + [(each[0], False) for each in objects]
