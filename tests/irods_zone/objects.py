"""Data objects: replicas in the vault, opened, read, written and closed, and what is done to them whole.

A replica is a file of the vault named by its ids. While it is written its status is '2' and other replicas are locked
('4'); closing makes it good ('1') and the others stale ('0'); a writer that goes away without closing leaves it stale.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import secrets
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

from irods_zone import access, resources
from irods_zone.catalogue import Actor, Catalogue, Replica, split, timestamp
from irods_zone.errors import Code, IrodsError
from irods_zone.wire import string_reply

WRONLY, RDWR, CREATE, TRUNCATE = 1, 2, 64, 512
GOOD, STALE, INTERMEDIATE, LOCKED = "1", "0", "2", "4"
CHUNK = 1 << 20


@dataclass
class Handle:
    """An open replica; `is_main` where closing it settles the replica's state in the catalogue."""

    replica: Replica
    path: str
    fd: int
    writes: bool
    is_main: bool
    token: str = ""
    wrote: bool = False
    former: dict[int, str] = field(default_factory=dict)
    checksum: str | None = None
    offset: int = 0


@dataclass
class Tokens:
    """Replica tokens of a zone: who has one may open more connections to a replica that is being written."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    open: dict[str, tuple[int, int]] = field(default_factory=dict)

    def issue(self, replica: Replica) -> str:
        token = secrets.token_hex(16)
        with self.lock:
            self.open[token] = (replica.data_id, replica.number)
        return token

    def fits(self, token: str, replica: Replica) -> bool:
        with self.lock:
            return self.open.get(token) == (replica.data_id, replica.number)

    def revoke(self, token: str) -> None:
        with self.lock:
            self.open.pop(token, None)


def open_object(
    catalogue: Catalogue, actor: Actor, tokens: Tokens, path: str, flags: int, options: dict[str, str]
) -> Handle:
    """Open a replica for the flags of open(2), creating the object if asked to."""
    writes = bool(flags & (WRONLY | RDWR))
    with catalogue.transaction():
        replicas = catalogue.replicas(path)
        if not replicas:
            if not flags & CREATE:
                raise IrodsError(Code.OBJ_PATH_DOES_NOT_EXIST, f"data object {path!r} does not exist")
            replica = create_replica(catalogue, actor, path, options)
            return start_writing(catalogue, tokens, replica, path, flags, options, [])
        needed = access.MODIFY_OBJECT if writes else access.READ_OBJECT
        access.require(catalogue, actor, replicas[0].data_id, needed, f"{'write' if writes else 'read'} {path}")
        replica = (
            writable(catalogue, actor, replicas, flags, options) if writes else choose(catalogue, replicas, options)
        )
        token = options.get("replicaToken", "")
        if writes and token:
            if not tokens.fits(token, replica):
                raise IrodsError(Code.SYS_INVALID_INPUT_PARAM, f"replica token of {path!r} is not valid")
            return Handle(replica, path, os.open(replica.file, os.O_RDWR), True, False)
        if writes:
            return start_writing(catalogue, tokens, replica, path, flags, options, replicas)
    if replica.status == INTERMEDIATE:
        raise IrodsError(Code.HIERARCHY_ERROR, f"replica {replica.number} of {path!r} is being written")
    return Handle(replica, path, open_file(replica, os.O_RDONLY), False, False)


def open_file(replica: Replica, flags: int) -> int:
    """File descriptor of a replica's bytes."""
    try:
        return os.open(replica.file, flags)
    except OSError as error:
        code = Code.UNIX_FILE_OPEN_ERR - (error.errno or 0)
        raise IrodsError(code, f"replica {replica.number}: {error.strerror}: {replica.file}") from error


def choose(catalogue: Catalogue, replicas: list[Replica], options: dict[str, str]) -> Replica:
    """The replica that the client asks for by number, hierarchy or resource; else the first good one, else any."""
    wanted = replicas
    if "replNum" in options:
        wanted = [each for each in replicas if str(each.number) == options["replNum"]]
        if not wanted:
            raise IrodsError(Code.SYS_REPLICA_DOES_NOT_EXIST, f"no replica {options['replNum']}")
    elif "resc_hier" in options:
        wanted = [each for each in replicas if each.hierarchy == options["resc_hier"]]
    elif "rescName" in options:
        resources.require_root(catalogue, options["rescName"])
        wanted = [each for each in replicas if each.hierarchy.split(";")[0] == options["rescName"]]
    if not wanted:
        raise IrodsError(Code.SYS_REPLICA_INACCESSIBLE, f"no replica of {replicas[0].name!r} there")
    return next((each for each in wanted if each.status == GOOD), wanted[0])


def writable(
    catalogue: Catalogue, actor: Actor, replicas: list[Replica], flags: int, options: dict[str, str]
) -> Replica:
    """The replica to write: on the resource that the client names, where a new one is made if it may create."""
    wanted = options.get("rescName") or options.get("destRescName")
    if not wanted or "resc_hier" in options or "replNum" in options:
        return choose(catalogue, replicas, options)
    try:
        return choose(catalogue, replicas, {"rescName": wanted})
    except IrodsError as error:
        if error.code != Code.SYS_REPLICA_INACCESSIBLE or not flags & CREATE:
            raise
    first, number = replicas[0], max(each.number for each in replicas) + 1
    resource = resources.for_new_replica(catalogue, {"rescName": wanted})
    return add_replica(catalogue, actor, first.data_id, number, (first.coll_id, first.name), resource)


def start_writing(
    catalogue: Catalogue, tokens: Tokens, replica: Replica, path: str, flags: int, options: dict[str, str],
    replicas: list[Replica]
) -> Handle:  # fmt: skip
    """Lock the object, mark the replica as being written and open its file."""
    if any(each.status in (INTERMEDIATE, LOCKED) for each in replicas):
        raise IrodsError(Code.HIERARCHY_ERROR, f"{path!r} is being written by somebody else")
    former = {each.number: each.status for each in replicas}
    catalogue.execute(
        "update r_data_main set data_is_dirty = case data_repl_num when ? then '2' else '4' end where data_id = ?",
        replica.number,
        replica.data_id,
    )
    fd = open_file(replica, os.O_RDWR | (os.O_TRUNC if flags & TRUNCATE else 0))
    handle = Handle(replica, path, fd, True, True, tokens.issue(replica), former=former)
    handle.wrote = not replicas or (bool(flags & TRUNCATE) and replica.size > 0)
    handle.checksum = options.get("verifyChksum") or options.get("regChksum")
    return handle


def create_replica(catalogue: Catalogue, actor: Actor, path: str, options: dict[str, str]) -> Replica:
    """Enter a new object with one empty replica; its status is that of a replica being written."""
    parent_path, name = split(path)
    if not name:
        raise IrodsError(Code.SYS_INVALID_FILE_PATH, f"{path!r} names no data object")
    if catalogue.collection(path):
        raise IrodsError(Code.CAT_NAME_EXISTS_AS_COLLECTION, f"{path!r} is a collection")
    parent = catalogue.collection(parent_path)
    if parent is None:
        raise IrodsError(Code.OBJ_PATH_DOES_NOT_EXIST, f"collection {parent_path!r} does not exist")
    access.require(catalogue, actor, parent.coll_id, access.MODIFY_OBJECT, f"create in {parent_path}")
    data_id = catalogue.next_id()
    resource = resources.for_new_replica(catalogue, options)
    replica = add_replica(catalogue, actor, data_id, 0, (parent.coll_id, name), resource)
    access.start_access(catalogue, actor, parent, data_id)
    touch_collection(catalogue, parent.coll_id)
    return replica


def add_replica(
    catalogue: Catalogue, actor: Actor, data_id: int, number: int, place: tuple[int, str], resource: resources.Resource
) -> Replica:
    """Enter one replica of an object on a resource, with an empty file; `place` is the collection's id and the name."""
    file = resource.vault / f"{data_id // 1000:03d}" / f"{data_id}_{number}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    enter_replica(catalogue, actor, Replica(data_id, number, *place, 0, INTERMEDIATE, "", file, resource.name,
                                            resource.hierarchy), resource.resc_id)  # fmt: skip
    return catalogue_replica(catalogue, data_id, number)


def enter_replica(catalogue: Catalogue, actor: Actor, replica: Replica, resc_id: int) -> None:
    """Write the row of a replica."""
    now = timestamp()
    catalogue.execute(
        "insert into r_data_main(data_id, data_repl_num, coll_id, data_name, data_size, data_is_dirty, data_checksum, "
        "data_path, resc_name, resc_hier, resc_id, data_owner_name, data_owner_zone, create_ts, modify_ts, access_ts) "
        "values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(
            replica.data_id,
            replica.number,
            replica.coll_id,
            replica.name,
            replica.size,
            replica.status,
            replica.checksum,
        ),
        *(str(replica.file), replica.resource, replica.hierarchy, resc_id, actor.name, actor.zone, now, now, now),
    )


def catalogue_replica(catalogue: Catalogue, data_id: int, number: int) -> Replica:
    """One replica by its ids."""
    path = catalogue.value(
        "select case coll_name when '/' then '' else coll_name end || '/' || data_name from r_data_main "
        "join r_coll_main using(coll_id) where data_id = ?",
        data_id,
    )
    return next(each for each in catalogue.existing_object(path) if each.number == number)


def close_handle(
    catalogue: Catalogue, tokens: Tokens, handle: Handle, options: dict[str, str], good: bool = True
) -> None:
    """Close a replica; the main handle of a write settles size, status and checksum.

    Parameters
    ----------
    good
        False if the writer went away: what it wrote stays, as a stale replica.
    """
    size = os.fstat(handle.fd).st_size
    os.close(handle.fd)
    if not handle.is_main:
        return
    tokens.revoke(handle.token)
    wanted = options.get("verifyChksum") or options.get("regChksum")
    wanted = handle.checksum if wanted is None else wanted
    digest = checksum_of(handle.replica.file) if good and wanted is not None else ""
    settle(catalogue, handle, size, good, digest)
    if digest and wanted and wanted != digest:
        catalogue.execute(
            "update r_data_main set data_is_dirty = '0' where data_id = ? and data_repl_num = ?",
            handle.replica.data_id,
            handle.replica.number,
        )
        raise IrodsError(Code.USER_CHKSUM_MISMATCH, f"{handle.path!r} has {digest}; the client said {wanted}")


def settle(catalogue: Catalogue, handle: Handle, size: int, good: bool, digest: str) -> None:
    """Write the state after a write: what was not touched keeps its state, what was is good and all else stale."""
    data_id, number = handle.replica.data_id, handle.replica.number
    changed = handle.wrote or not good
    with catalogue.transaction():
        for other, status in handle.former.items():
            new = STALE if changed and good and other != number else status
            catalogue.execute(
                "update r_data_main set data_is_dirty = ? where data_id = ? and data_repl_num = ?", new, data_id, other
            )
        if changed:
            catalogue.execute(
                "update r_data_main set data_is_dirty = ?, data_size = ?, data_checksum = ?, modify_ts = ? "
                "where data_id = ? and data_repl_num = ?",
                *(GOOD if good else STALE, size, digest, timestamp(), data_id, number),
            )


def checksum_of(file: Path) -> str:
    """Checksum as the server writes it."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(CHUNK):
            digest.update(block)
    return f"sha2:{base64.b64encode(digest.digest()).decode()}"


def checksum(catalogue: Catalogue, actor: Actor, path: str, options: dict[str, str]) -> str:
    """Report the checksum of a replica, computing and registering it where it is missing or that is asked for."""
    replicas = catalogue.existing_object(path)
    access.require(catalogue, actor, replicas[0].data_id, access.READ_OBJECT, f"read {path}")
    chosen = replicas if "ChksumAll" in options else [choose(catalogue, replicas, options)]
    if "verifyChksum" in options:
        verify(chosen if {"replNum", "rescName"} & options.keys() else replicas)
        return ""
    found = ""
    for each in chosen:
        found = each.checksum if each.checksum and "forceChksum" not in options else checksum_of(each.file)
        catalogue.execute(
            "update r_data_main set data_checksum = ? where data_id = ? and data_repl_num = ?",
            found,
            each.data_id,
            each.number,
        )
    return found


def verify(replicas: list[Replica]) -> None:
    """Raise with a list of the replicas whose bytes do not have the registered checksum, or that have none."""
    found = []
    for each in replicas:
        if not each.checksum:
            text = f"No checksum available for replica [{each.number}]."
            found.append({"error_code": int(Code.CAT_NO_CHECKSUM_FOR_REPLICA), "message": text, "severity": "warning"})
        elif each.checksum != (actual := checksum_of(each.file)):
            text = f"Replica [{each.number}]: registered {each.checksum}, computed {actual}"
            found.append({"error_code": int(Code.USER_CHKSUM_MISMATCH), "message": text, "severity": "error"})
    if found:
        body = string_reply(json.dumps(found))
        raise IrodsError(Code.CHECK_VERIFICATION_RESULTS, body=body)


def unlink(catalogue: Catalogue, actor: Actor, path: str, options: dict[str, str], unregister: bool = False) -> None:
    """Remove an object: into the trash, or for good if forced, unregistered or there already."""
    replicas = catalogue.existing_object(path)
    access.require(catalogue, actor, replicas[0].data_id, access.DELETE_OBJECT, f"remove {path}")
    trash = f"/{catalogue.zone()}/trash"
    with catalogue.transaction():
        if unregister or "forceFlag" in options or path.startswith(f"{trash}/"):
            delete(catalogue, replicas, unregister)
            return
        target = trash_path(catalogue, actor, path)
        make_trash_folders(catalogue, actor, split(target)[0])
        place(catalogue, replicas[0].data_id, target)


def delete(catalogue: Catalogue, replicas: list[Replica], unregister: bool) -> None:
    """Forget an object with its AVUs and permissions, and its bytes unless they are only unregistered."""
    data_id = replicas[0].data_id
    for table, key in (("r_data_main", "data_id"), ("r_objt_metamap", "object_id"), ("r_objt_access", "object_id")):
        catalogue.execute(f"delete from {table} where {key} = ?", data_id)
    for each in replicas:
        if not unregister:
            each.file.unlink(missing_ok=True)


def trash_path(catalogue: Catalogue, actor: Actor, path: str) -> str:
    """Where something goes when it is thrown away; a number is added if the name is taken there."""
    zone = catalogue.zone()
    below = path.removeprefix(f"/{zone}/").removeprefix(f"home/{actor.name}/")
    target = f"/{zone}/trash/home/{actor.name}/{below}"
    while catalogue.replicas(target) or catalogue.collection(target):
        target = f"/{zone}/trash/home/{actor.name}/{below}.{secrets.randbelow(10**9)}"
    return target


def make_trash_folders(catalogue: Catalogue, actor: Actor, path: str) -> None:
    """Collections of the trash down to a path, owned by who throws away."""
    if catalogue.collection(path) is not None:
        return
    parent, _ = split(path)
    make_trash_folders(catalogue, actor, parent)
    coll_id = enter_collection(catalogue, actor, path)
    access.set_level(catalogue, coll_id, actor.user_id, access.OWN)


def enter_collection(catalogue: Catalogue, actor: Actor, path: str) -> int:
    """Write the row of a collection."""
    coll_id, now = catalogue.next_id(), timestamp()
    catalogue.execute(
        "insert into r_coll_main(coll_id, parent_coll_name, coll_name, coll_owner_name, coll_owner_zone, create_ts, "
        "modify_ts) values(?, ?, ?, ?, ?, ?, ?)",
        *(coll_id, split(path)[0], path, actor.name, actor.zone, now, now),
    )
    return coll_id


def touch_collection(catalogue: Catalogue, coll_id: int) -> None:
    catalogue.execute("update r_coll_main set modify_ts = ? where coll_id = ?", timestamp(), coll_id)


def place(catalogue: Catalogue, data_id: int, path: str) -> None:
    """Give an object a new logical path; its bytes stay where they are."""
    parent, name = split(path)
    coll_id = catalogue.existing_collection(parent).coll_id
    catalogue.execute("update r_data_main set coll_id = ?, data_name = ? where data_id = ?", coll_id, name, data_id)
    touch_collection(catalogue, coll_id)


def rename(catalogue: Catalogue, actor: Actor, source: str, target: str) -> None:
    with catalogue.transaction():
        replicas = catalogue.existing_object(source)
        access.require(catalogue, actor, replicas[0].data_id, access.DELETE_OBJECT, f"move {source}")
        check_free(catalogue, actor, target)
        place(catalogue, replicas[0].data_id, target)


def check_free(catalogue: Catalogue, actor: Actor, path: str) -> None:
    """Raise unless something new may come to that path."""
    parent = catalogue.existing_collection(split(path)[0])
    access.require(catalogue, actor, parent.coll_id, access.MODIFY_OBJECT, f"create in {parent.path}")
    if catalogue.collection(path):
        raise IrodsError(Code.CAT_NAME_EXISTS_AS_COLLECTION, f"{path!r} is a collection")
    if catalogue.replicas(path):
        raise IrodsError(Code.CAT_NAME_EXISTS_AS_DATAOBJ, f"{path!r} exists")


def copy(catalogue: Catalogue, actor: Actor, tokens: Tokens, paths: tuple[str, str], options: dict[str, str]) -> None:
    """Copy bytes (not AVUs) from the first path to the second; overwrites only if forced."""
    source, target = paths
    relative = [each for each in paths if not each.startswith("/")]
    if relative or not catalogue.replicas(source):
        raise IrodsError(Code.USER_INPUT_PATH_ERR, f"copy from {source!r} to {target!r}: no such data object or path")
    if catalogue.replicas(target) and "forceFlag" not in options:
        raise IrodsError(Code.OVERWRITE_WITHOUT_FORCE_FLAG, f"{target!r} exists")
    reading = open_object(catalogue, actor, tokens, source, 0, {})
    with contextlib.closing(os.fdopen(reading.fd, "rb")) as stream:
        writing = open_object(catalogue, actor, tokens, target, WRONLY | CREATE | TRUNCATE, options)
        with os.fdopen(os.dup(writing.fd), "wb") as sink:
            shutil.copyfileobj(stream, sink, CHUNK)
    writing.wrote = True
    registered = reading.replica.checksum
    extra = {"regChksum": ""} if registered or "regChksum" in options or "verifyChksum" in options else {}
    close_handle(catalogue, tokens, writing, extra)


def replicate(catalogue: Catalogue, actor: Actor, path: str, options: dict[str, str]) -> None:
    """Copy a good replica to another resource, or over the stale replicas (`updateRepl`)."""
    with catalogue.transaction():
        replicas = catalogue.existing_object(path)
        access.require(catalogue, actor, replicas[0].data_id, access.MODIFY_OBJECT, f"replicate {path}")
        good = [each for each in replicas if each.status == GOOD]
        if not good:
            raise IrodsError(Code.SYS_REPLICA_INACCESSIBLE, f"{path!r} has no good replica")
        if "updateRepl" in options:
            targets = [each for each in replicas if each.status == STALE]
            targets = targets if "all" in options else targets[:1]
        else:
            resource = resources.for_new_replica(catalogue, options)
            held = [each for each in replicas if each.hierarchy == resource.hierarchy]
            number = max(each.number for each in replicas) + 1
            targets = [each for each in held if each.status == STALE]
            if not held:
                whereto = (good[0].coll_id, good[0].name)
                targets = [add_replica(catalogue, actor, good[0].data_id, number, whereto, resource)]
        for each in targets:
            shutil.copyfile(good[0].file, each.file)
            catalogue.execute(
                "update r_data_main set data_is_dirty = '1', data_size = ?, data_checksum = ?, modify_ts = ? "
                "where data_id = ? and data_repl_num = ?",
                *(good[0].size, good[0].checksum, timestamp(), each.data_id, each.number),
            )


def trim(catalogue: Catalogue, actor: Actor, path: str, options: dict[str, str], unregister: bool) -> None:
    """Remove replicas by number or resource, but never below the number to keep, nor the last good one."""
    with catalogue.transaction():
        replicas = catalogue.existing_object(path)
        access.require(catalogue, actor, replicas[0].data_id, access.DELETE_OBJECT, f"trim {path}")
        doomed = replicas
        if "replNum" in options:
            doomed = [each for each in replicas if str(each.number) == options["replNum"]]
        elif "rescName" in options:
            doomed = [each for each in replicas if options["rescName"] in each.hierarchy.split(";")]
        if not doomed:
            raise IrodsError(Code.SYS_REPLICA_DOES_NOT_EXIST, f"no such replica of {path!r}")
        spare = len(replicas) - int(options.get("copies", "2"))
        doomed = sorted(doomed, key=lambda each: each.status == GOOD)[: max(spare, 0)]
        left = [each for each in replicas if each not in doomed]
        if doomed and not any(each.status == GOOD for each in left):
            raise IrodsError(Code.CAT_LAST_REPLICA, f"{path!r} would have no good replica left")
        for each in doomed:
            catalogue.execute(
                "delete from r_data_main where data_id = ? and data_repl_num = ?", each.data_id, each.number
            )
            if not unregister:
                each.file.unlink(missing_ok=True)


def truncate(
    catalogue: Catalogue, actor: Actor, tokens: Tokens, path: str, size: int, options: dict[str, str]
) -> Replica:
    """Set the size of a replica."""
    if size < 0:
        raise IrodsError(Code.UNIX_FILE_TRUNCATE_ERR - 22, f"size {size}")
    catalogue.existing_object(path)
    handle = open_object(catalogue, actor, tokens, path, RDWR, options)
    handle.wrote = handle.replica.size != size
    os.ftruncate(handle.fd, size)
    close_handle(catalogue, tokens, handle, {})
    return handle.replica
