"""The catalogue: SQLite tables under the names and columns of the iRODS catalogue, and the look-ups everybody needs.

Each connection to the server has its own `Catalogue` on the same file. Times are the catalogue's own: seconds since
1970 as text of eleven digits. Knows nothing of permissions, messages or bytes.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from irods_zone.errors import Code, IrodsError

SCHEMA = """
create table r_sequence(id integer not null);
create table r_zone_main(zone_id integer primary key, zone_name text, zone_type_name text, zone_conn_string text
    default '', r_comment text default '', create_ts text, modify_ts text);
create table r_user_main(user_id integer primary key, user_name text, user_type_name text, zone_name text, user_info
    text default '', r_comment text default '', create_ts text, modify_ts text, unique(user_name, zone_name));
create table r_user_password(user_id integer primary key, rcat_password text);
create table r_user_group(group_user_id integer, user_id integer, primary key(group_user_id, user_id)) without
    rowid;
create index user_groups on r_user_group(user_id);
create table r_resc_main(resc_id integer primary key, resc_name text unique, zone_name text, resc_type_name text,
    resc_class_name text default 'cache', resc_net text, resc_def_path text, free_space text default '',
    free_space_ts text default '', resc_info text default '', r_comment text default '', resc_status text default
    '', create_ts text, modify_ts text, resc_children text default '', resc_context text default '', resc_parent
    text default '', resc_parent_context text default '');
create table r_coll_main(coll_id integer primary key, parent_coll_name text, coll_name text unique, coll_owner_name
    text, coll_owner_zone text, coll_map_id integer default 0, coll_inheritance text default '', coll_type text
    default '', coll_info1 text default '', coll_info2 text default '', coll_expiry_ts text default '', r_comment
    text default '', create_ts text, modify_ts text);
create index parent_collections on r_coll_main(parent_coll_name);
create table r_data_main(data_id integer, data_repl_num integer, coll_id integer, data_name text, data_version text
    default '', data_type_name text default 'generic', data_size integer default 0, resc_name text, data_path text,
    data_owner_name text, data_owner_zone text, data_is_dirty text default '1', data_status text default '',
    data_checksum text default '', data_expiry_ts text default '00000000000', data_map_id integer default 0,
    data_mode text default '', r_comment text default '', create_ts text, modify_ts text, access_ts text, resc_hier
    text, resc_id integer, primary key(data_id, data_repl_num)) without rowid;
create index objects_of_collection on r_data_main(coll_id, data_name);
create index objects_by_name on r_data_main(data_name);
create table r_meta_main(meta_id integer primary key, meta_attr_name text, meta_attr_value text, meta_attr_unit
    text, create_ts text, modify_ts text, unique(meta_attr_name, meta_attr_value, meta_attr_unit));
create table r_objt_metamap(object_id integer, meta_id integer, create_ts text, modify_ts text, primary
    key(object_id, meta_id)) without rowid;
create index objects_of_avu on r_objt_metamap(meta_id);
create table r_objt_access(object_id integer, user_id integer, access_type_id integer, create_ts text, modify_ts
    text, primary key(object_id, user_id)) without rowid;
create index access_of_user on r_objt_access(user_id);
create table r_tokn_main(token_namespace text, token_id integer primary key, token_name text);
"""
FIRST_ID = 10000


@dataclass(frozen=True)
class Actor:
    """On whose behalf something is done."""

    user_id: int
    name: str
    zone: str
    kind: str

    @property
    def is_admin(self) -> bool:
        return self.kind == "rodsadmin"


@dataclass(frozen=True)
class Collection:
    """One collection."""

    coll_id: int
    path: str
    inherits: bool


@dataclass(frozen=True)
class Replica:
    """One replica of a data object; status '1' is good, '0' stale, '2' being written, '4' locked by such a write."""

    data_id: int
    number: int
    coll_id: int
    name: str
    size: int
    status: str
    checksum: str
    file: Path
    resource: str
    hierarchy: str


REPLICA_COLUMNS = """data_id, data_repl_num, coll_id, data_name, data_size, data_is_dirty, data_checksum,
    data_path, resc_name, resc_hier"""


def timestamp(seconds: float | None = None) -> str:
    """A time as the catalogue writes it; now by default."""
    return f"{int(time.time() if seconds is None else seconds):011d}"


def split(path: str) -> tuple[str, str]:
    """Parent collection and last name of a logical path."""
    if not path.startswith("/"):
        raise IrodsError(Code.SYS_INVALID_FILE_PATH, f"path {path!r} is not absolute")
    pure = PurePosixPath(path)
    return str(pure.parent), pure.name


class Catalogue:
    """One connection to the catalogue file; not to be shared between threads that work at the same time."""

    _writing = threading.RLock()

    def __init__(self, file: Path) -> None:
        self._file = file
        self._db = connect(file)

    def create(self) -> None:
        """Make the tables of an empty catalogue."""
        self._db.executescript(SCHEMA)
        self._db.execute("insert into r_sequence values(?)", (FIRST_ID,))

    def close(self) -> None:
        self._db.close()

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._run(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self._run(sql, values).fetchone()
        return found

    def value(self, sql: str, *values: Any) -> Any:
        """First column of the first row, or None."""
        found = self.row(sql, *values)
        return found[0] if found else None

    def execute(self, sql: str, *values: Any) -> int:
        """Run a change and count the rows that it touched."""
        return self._run(sql, values).rowcount

    def execute_many(self, sql: str, rows: Iterator[Sequence[Any]]) -> None:
        self._db.executemany(sql, rows)

    def open_cursor(self, sql: str, values: Sequence[Any]) -> sqlite3.Cursor:
        """Run a query and keep it open; `detach_reader` before anything else is asked of this object."""
        return self._run(sql, values)

    def detach_reader(self) -> sqlite3.Connection:
        """Hand out the current database connection, on which a cursor stays open, and go on with a new one."""
        old, self._db = self._db, connect(self._file)
        return old

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; one at a time in the whole zone. May be nested."""
        if self._db.in_transaction:
            yield
            return
        with Catalogue._writing:
            self._db.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    def next_id(self) -> int:
        return int(self.value("update r_sequence set id = id + 1 returning id"))

    def reserve_ids(self, count: int) -> int:
        """First of so many ids in a row."""
        return int(self.value("update r_sequence set id = id + ? returning id", count)) - count + 1

    def zone(self) -> str:
        return str(self.value("select zone_name from r_zone_main where zone_type_name = 'local'"))

    def user(self, name: str, zone: str) -> Actor | None:
        found = self.row(
            "select user_id, user_name, zone_name, user_type_name from r_user_main "
            "where user_name = ? and zone_name = ?",
            name,
            zone,
        )
        return Actor(*found) if found else None

    def collection(self, path: str) -> Collection | None:
        found = self.row("select coll_id, coll_name, coll_inheritance from r_coll_main where coll_name = ?", path)
        return Collection(found[0], found[1], found[2] == "1") if found else None

    def existing_collection(self, path: str) -> Collection:
        found = self.collection(path)
        if found is None:
            raise IrodsError(Code.CAT_UNKNOWN_COLLECTION, f"collection {path!r} does not exist")
        return found

    def replicas(self, path: str) -> list[Replica]:
        """All replicas of a data object, in order of their number; none if there is no such object."""
        parent, name = split(path)
        fields = list(Replica.__dataclass_fields__)
        found = self.rows(
            f"select {REPLICA_COLUMNS} from r_data_main where data_name = ? and coll_id = "
            "(select coll_id from r_coll_main where coll_name = ?) order by data_repl_num",
            name,
            parent,
        )
        return [Replica(**dict(zip(fields, (*each[:7], Path(each[7]), *each[8:]), strict=True))) for each in found]

    def existing_object(self, path: str) -> list[Replica]:
        found = self.replicas(path)
        if not found:
            raise IrodsError(Code.OBJ_PATH_DOES_NOT_EXIST, f"data object {path!r} does not exist")
        return found

    def _run(self, sql: str, values: Sequence[Any]) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, values)
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise IrodsError(Code.CAT_SQL_ERR, f"{error} in: {sql[:300]}") from error


def connect(file: Path) -> sqlite3.Connection:
    """Open the catalogue file; texts compare by character, `like` minds case, a crash of the machine may lose it."""
    db = sqlite3.connect(file, isolation_level=None, timeout=120, check_same_thread=False)
    for pragma in ("journal_mode=wal", "synchronous=off", "case_sensitive_like=on", "temp_store=memory"):
        db.execute(f"pragma {pragma}")
    db.create_function("upper", 1, lambda text: None if text is None else str(text).upper(), deterministic=True)
    db.create_function("lower", 1, lambda text: None if text is None else str(text).lower(), deterministic=True)
    return db
