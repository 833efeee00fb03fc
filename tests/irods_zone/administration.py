"""What administrators do: users, groups, resources; and a new catalogue with what every zone has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from irods_zone import access, auth, collection, objects, resources
from irods_zone.catalogue import Actor, Catalogue, timestamp
from irods_zone.errors import Code, IrodsError, refuse

KINDS = ("rodsadmin", "groupadmin", "rodsuser", "rodsgroup")


def found_zone(catalogue: Catalogue, zone: str, admin: tuple[str, str], host: str, vault: Path) -> None:
    """Fill an empty catalogue: the zone, its administrator (name and password), his group, homes, one resource."""
    now = timestamp()
    with catalogue.transaction():
        catalogue.execute(
            "insert into r_zone_main values(?, ?, 'local', '', '', ?, ?)", catalogue.next_id(), zone, now, now
        )
        for name, value in access.LEVELS.items():
            catalogue.execute("insert into r_tokn_main values('access_type', ?, ?)", value, name)
        resources.add(catalogue, resources.DEFAULT, "unixfilesystem", f"{host}:{vault}")
        enter_user(catalogue, "public", zone, "rodsgroup")
        actor = enter_user(catalogue, admin[0], zone, "rodsadmin")
        set_password(catalogue, actor, admin[1])
        for path in ("/", f"/{zone}", *(f"/{zone}/{each}" for each in ("home", "trash", "trash/home"))):
            access.set_level(catalogue, objects.enter_collection(catalogue, actor, path), actor.user_id, access.OWN)
        for owner in (actor, catalogue.user("public", zone)):
            if owner is not None:
                make_homes(catalogue, owner)


def enter_user(catalogue: Catalogue, name: str, zone: str, kind: str) -> Actor:
    """Write a user or group; a user is a member of himself and of everybody."""
    if kind not in KINDS:
        raise IrodsError(Code.CAT_INVALID_USER_TYPE, f"user type {kind!r}; expected one of {', '.join(KINDS)}")
    if catalogue.user(name, zone):
        raise IrodsError(Code.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME, f"user {name!r} exists")
    actor, now = Actor(catalogue.next_id(), name, zone, kind), timestamp()
    catalogue.execute(
        "insert into r_user_main(user_id, user_name, user_type_name, zone_name, create_ts, modify_ts) "
        "values(?, ?, ?, ?, ?, ?)",
        *(actor.user_id, name, kind, zone, now, now),
    )
    catalogue.execute("insert into r_user_group values(?, ?)", actor.user_id, actor.user_id)
    everybody = catalogue.user("public", zone)
    if kind != "rodsgroup" and everybody is not None:
        catalogue.execute("insert into r_user_group values(?, ?)", everybody.user_id, actor.user_id)
    return actor


def make_homes(catalogue: Catalogue, owner: Actor) -> None:
    """Home collections of a user or group, in the zone and in its trash, both his own."""
    for path in homes(owner):
        coll_id = objects.enter_collection(catalogue, owner, path)
        access.set_level(catalogue, coll_id, owner.user_id, access.OWN)


def homes(owner: Actor) -> tuple[str, str]:
    return f"/{owner.zone}/home/{owner.name}", f"/{owner.zone}/trash/home/{owner.name}"


def add_user(catalogue: Catalogue, name: str, kind: str) -> Actor:
    """A new user or group with his homes."""
    name, _, zone = name.partition("#")
    with catalogue.transaction():
        actor = enter_user(catalogue, name, zone or catalogue.zone(), kind)
        make_homes(catalogue, actor)
    return actor


def remove_user(catalogue: Catalogue, name: str) -> None:
    """Remove a user or group; his homes must be empty. Permissions that name him stay behind, as on the server."""
    with catalogue.transaction():
        actor = existing_user(catalogue, name)
        for path in homes(actor):
            if len(collection.content(catalogue, path)) > 1:
                raise IrodsError(Code.CAT_COLLECTION_NOT_EMPTY, f"{path} is not empty")
            collection.delete(catalogue, path, unregister=False)
        for table in ("r_user_main", "r_user_password", "r_user_group"):
            catalogue.execute(f"delete from {table} where user_id = ?", actor.user_id)
        catalogue.execute("delete from r_user_group where group_user_id = ?", actor.user_id)
        catalogue.execute("delete from r_objt_metamap where object_id = ?", actor.user_id)


def existing_user(catalogue: Catalogue, name: str, code: Code = Code.CAT_INVALID_USER) -> Actor:
    user, _, zone = name.partition("#")
    found = catalogue.user(user, zone or catalogue.zone())
    if found is None:
        raise IrodsError(code, f"{name!r} does not exist")
    return found


def set_password(catalogue: Catalogue, actor: Actor, password: str) -> None:
    catalogue.execute("insert or replace into r_user_password values(?, ?)", actor.user_id, password)


def change_member(catalogue: Catalogue, group: str, operation: str, user: str, zone: str) -> None:
    """Add a user to a group or remove him."""
    group_id = existing_user(catalogue, group, Code.CAT_INVALID_GROUP).user_id
    member = existing_user(catalogue, f"{user}#{zone}" if zone else user)
    held = catalogue.value(
        "select 1 from r_user_group where group_user_id = ? and user_id = ?", group_id, member.user_id
    )
    if operation == "add":
        if held:
            raise IrodsError(Code.CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME, f"{user!r} is in {group!r}")
        catalogue.execute("insert into r_user_group values(?, ?)", group_id, member.user_id)
    elif operation == "remove":
        if not held:
            raise IrodsError(Code.CAT_SUCCESS_BUT_WITH_NO_INFO, f"{user!r} is not in {group!r}")
        catalogue.execute("delete from r_user_group where group_user_id = ? and user_id = ?", group_id, member.user_id)
    else:
        raise IrodsError(Code.CAT_INVALID_ARGUMENT, f"group operation {operation!r} is not known")


def modify_user(catalogue: Catalogue, actor: Actor, client_signature: str, name: str, option: str, value: str) -> None:
    """Change one thing of a user; a new password comes scrambled with the actor's own."""
    target = existing_user(catalogue, name)
    if option == "password":
        own = auth.password_of(catalogue, actor) or ""
        set_password(catalogue, target, auth.read_password(value, own, client_signature))
        return
    columns = {"type": "user_type_name", "comment": "r_comment", "info": "user_info"}
    if option not in columns:
        raise refuse(f"changing {option!r} of a user")
    if option == "type" and value not in KINDS:
        raise IrodsError(Code.CAT_INVALID_USER_TYPE, f"user type {value!r}")
    catalogue.execute(
        f"update r_user_main set {columns[option]} = ?, modify_ts = ? where user_id = ?",
        value,
        timestamp(),
        target.user_id,
    )


def remove_unused_avus(catalogue: Catalogue) -> None:
    catalogue.execute("delete from r_meta_main where meta_id not in (select meta_id from r_objt_metamap)")


def general_admin(catalogue: Catalogue, actor: Actor, client_signature: str, words: list[str]) -> None:
    """One call of the administrators' interface; the words are its arguments."""
    if not actor.is_admin:
        raise IrodsError(Code.SYS_NO_API_PRIV, f"{actor.name} is no administrator")
    first, second, third, fourth, fifth, sixth = words[:6]
    steps: dict[tuple[str, str], Callable[[], object]] = {
        ("add", "user"): lambda: add_user(catalogue, third, fourth),
        ("add", "group"): lambda: add_user(catalogue, third, "rodsgroup"),
        ("rm", "user"): lambda: remove_user(catalogue, third),
        ("rm", "group"): lambda: remove_user(catalogue, third),
        ("modify", "user"): lambda: modify_user(catalogue, actor, client_signature, third, fourth, fifth),
        ("modify", "group"): lambda: change_member(catalogue, third, fourth, fifth, sixth),
        ("add", "resource"): lambda: resources.add(catalogue, third, fourth, fifth, sixth),
        ("rm", "resource"): lambda: None if fourth == "--dryrun" else resources.remove(catalogue, third),
        ("modify", "resource"): lambda: resources.modify(catalogue, third, fourth, fifth),
        ("add", "childtoresc"): lambda: resources.set_parent(catalogue, fourth, third),
        ("rm", "childfromresc"): lambda: resources.set_parent(catalogue, fourth, None),
        ("rm", "unusedAVUs"): lambda: remove_unused_avus(catalogue),
    }
    step = steps.get((first, second))
    if step is None:
        raise refuse(f"the administrator's call {first} {second}")
    with catalogue.transaction():
        step()
