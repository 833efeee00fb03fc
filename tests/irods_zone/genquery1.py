"""The first general query: numbered columns, joined over a graph of tables, turned into SQL and read in pages.

The metadata join is an inner join; a second condition on an attribute name means a second AVU; equal rows come once;
a page that cannot be carried fails as a whole. Knows nothing of connections: who keeps a page's cursor is the agent's
matter.
"""

from __future__ import annotations

import re
import sqlite3
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from irods_zone.access import READ_METADATA, READ_OBJECT
from irods_zone.catalogue import Actor
from irods_zone.errors import Code, IrodsError, refuse
from irods_zone.wire import Node, item, struct_of

# Column numbers by table; the alias is the table's node in the graph below.
COLUMNS: dict[int, tuple[str, str]] = {
    number: (alias, column)
    for alias, first, names in [
        ("z", 101, "zone_id zone_name zone_type_name zone_conn_string r_comment create_ts modify_ts"),
        ("u", 201, "user_id user_name user_type_name zone_name - user_info r_comment create_ts modify_ts"),
        ("r", 301, "resc_id resc_name zone_name resc_type_name resc_class_name resc_net resc_def_path free_space"),
        ("r", 309, "resc_info r_comment create_ts modify_ts resc_status free_space_ts resc_children resc_context"),
        ("r", 317, "resc_parent resc_parent_context"),
        (
            "d",
            401,
            "data_id coll_id data_name data_repl_num data_version data_type_name data_size - resc_name data_path",
        ),
        (
            "d",
            411,
            "data_owner_name data_owner_zone data_is_dirty data_status data_checksum data_expiry_ts data_map_id",
        ),
        ("d", 418, "r_comment create_ts modify_ts data_mode resc_hier resc_id access_ts"),
        ("c", 500, "coll_id coll_name parent_coll_name coll_owner_name coll_owner_zone coll_map_id coll_inheritance"),
        ("c", 507, "r_comment create_ts modify_ts coll_type coll_info1 coll_info2"),
        ("dm", 600, "meta_attr_name meta_attr_value meta_attr_unit meta_id"),
        ("dmm", 604, "create_ts modify_ts"),
        ("cm", 610, "meta_attr_name meta_attr_value meta_attr_unit meta_id"),
        ("cmm", 614, "create_ts modify_ts"),
        ("rm", 630, "meta_attr_name meta_attr_value meta_attr_unit meta_id"),
        ("rmm", 634, "create_ts modify_ts"),
        ("um", 640, "meta_attr_name meta_attr_value meta_attr_unit meta_id"),
        ("umm", 644, "create_ts modify_ts"),
        ("da", 700, "access_type_id"),
        ("dat", 701, "token_name token_namespace"),
        ("da", 703, "user_id object_id"),
        ("ca", 710, "access_type_id"),
        ("cat", 711, "token_name token_namespace"),
        ("ca", 713, "user_id object_id"),
        ("ug", 900, "group_user_id"),
        ("g", 901, "user_name"),
        ("cu", 1300, "user_name zone_name"),
    ]
    for number, column in enumerate(names.split(), first)
    if column != "-"
}
TABLES = {
    "z": "r_zone_main",
    "u": "r_user_main",
    "r": "r_resc_main",
    "d": "r_data_main",
    "c": "r_coll_main",
    "da": "r_objt_access",
    "ca": "r_objt_access",
    "dat": "r_tokn_main",
    "cat": "r_tokn_main",
    "ug": "r_user_group",
    "g": "r_user_main",
    "cu": "r_user_main",
    **{f"{owner}m": "r_meta_main" for owner in "dcru"},
    **{f"{owner}mm": "r_objt_metamap" for owner in "dcru"},
}
EDGES = {
    ("d", "c"): "d.coll_id = c.coll_id",
    ("d", "r"): "d.resc_id = r.resc_id",
    ("d", "dmm"): "dmm.object_id = d.data_id",
    ("c", "cmm"): "cmm.object_id = c.coll_id",
    ("r", "rmm"): "rmm.object_id = r.resc_id",
    ("u", "umm"): "umm.object_id = u.user_id",
    ("dmm", "dm"): "dmm.meta_id = dm.meta_id",
    ("cmm", "cm"): "cmm.meta_id = cm.meta_id",
    ("rmm", "rm"): "rmm.meta_id = rm.meta_id",
    ("umm", "um"): "umm.meta_id = um.meta_id",
    ("d", "da"): "da.object_id = d.data_id",
    ("da", "dat"): "da.access_type_id = dat.token_id",
    ("da", "u"): "da.user_id = u.user_id",
    ("c", "ca"): "ca.object_id = c.coll_id",
    ("ca", "cat"): "ca.access_type_id = cat.token_id",
    ("ca", "cu"): "ca.user_id = cu.user_id",
    ("u", "ug"): "ug.user_id = u.user_id",
    ("ug", "g"): "ug.group_user_id = g.user_id",
    ("u", "z"): "u.zone_name = z.zone_name",
}
AGGREGATES = {2: "min", 3: "max", 4: "sum", 5: "avg", 6: "count"}
ORDER_ASCENDING, ORDER_DESCENDING = 0x400, 0x800
WITH_TOTAL, NO_DISTINCT, UPPER_CASE = 0x20, 0x40, 0x200
KNOWN_OPTIONS = WITH_TOTAL | NO_DISTINCT | UPPER_CASE | 0x100
CELL_LIMIT = 2700
OPERATOR = re.compile(r"\s*(n?(?:<=|>=|<>|!=|=|<|>)|not\s+like|like|begin_of|parent_of)\s*'", re.IGNORECASE)


@dataclass(frozen=True)
class Query:
    """What the client asks for."""

    max_rows: int
    continuation: int
    offset: int
    options: int
    select: list[tuple[int, int]]
    conditions: list[tuple[int, str]]

    @classmethod
    def read(cls, root: Node) -> Query:
        """Take the query out of its message."""
        select, where = root.child("InxIvalPair_PI"), root.child("InxValPair_PI")
        return cls(
            root.integer("maxRows"),
            root.integer("continueInx"),
            root.integer("partialStartIndex"),
            root.integer("options"),
            [(int(a), int(b)) for a, b in zip(select.all("inx"), select.all("ivalue"), strict=True)],
            [(int(a), b) for a, b in zip(where.all("inx"), where.all("svalue"), strict=True)],
        )


@dataclass
class Statement:
    """SQL under construction."""

    tables: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    values: list[object] = field(default_factory=list)
    joins: list[str] = field(default_factory=list)

    def use(self, number: int) -> tuple[str, str]:
        """Table alias and column of a column number."""
        found = COLUMNS.get(number)
        if found is None:
            raise refuse(f"general query column {number}", Code.CAT_UNKNOWN_TABLE)
        if found[0] not in self.tables:
            self.tables.append(found[0])
        return found


def compile_query(query: Query, actor: Actor, unordered: bool = False) -> tuple[str, list[object]]:
    """SQL and values of a query as that user may run it."""
    if query.options & ~KNOWN_OPTIONS:
        raise refuse(f"general query options {query.options:#x}")
    statement = Statement()
    columns, groups, order = select_clause(query, statement)
    where_clause(query, statement)
    from_clause(statement)
    restrict(statement, actor)
    distinct = "" if query.options & NO_DISTINCT else "distinct "
    sql = f"select {distinct}{', '.join(columns)} from {' '.join(statement.joins)}"
    if statement.where:
        sql += f" where {' and '.join(statement.where)}"
    if len(groups) < len(columns) and groups:
        sql += f" group by {', '.join(groups)}"
    if not order:
        order = ["random()"] if unordered else [str(place + 1) for place in range(len(columns))]
    return f"{sql} order by {', '.join(order)}", statement.values


def select_clause(query: Query, statement: Statement) -> tuple[list[str], list[str], list[str]]:
    """Selected expressions, what to group by, and the order asked for."""
    columns, groups, order = [], [], []
    for number, flags in query.select:
        expression = "{}.{}".format(*statement.use(number))
        function = AGGREGATES.get(flags & 0xF)
        columns.append(f"{function}({expression})" if function else expression)
        if not function:
            groups.append(expression)
        if flags & (ORDER_ASCENDING | ORDER_DESCENDING):
            order.append(expression + (" desc" if flags & ORDER_DESCENDING else ""))
    if not columns:
        raise IrodsError(Code.CAT_INVALID_ARGUMENT, "query selects nothing")
    return columns, groups, order


def where_clause(query: Query, statement: Statement) -> None:
    """Conditions in order; the n-th condition on an attribute's name and on its value speak of the n-th AVU."""
    avus = {owner: sum(COLUMNS.get(n) == (owner, "meta_attr_name") for n, _ in query.conditions) for owner in
            ("dm", "cm", "rm", "um")}  # fmt: skip
    if max(avus["rm"], avus["um"]) > 1:
        raise IrodsError(Code.CAT_INVALID_ARGUMENT, "several AVU conditions on users or resources")
    seen: dict[tuple[str, str], int] = {}
    for number, text in query.conditions:
        alias, column = statement.use(number)
        pieces = []
        for glue, part in alternatives(text):
            place = seen[alias, column] = seen.get((alias, column), 0) + 1
            numbered = column in ("meta_attr_name", "meta_attr_value") and 1 < place <= avus.get(alias, 0)
            sql, values = condition(f"{alias}{place if numbered else ''}.{column}", part, query.options)
            pieces.append(f"{glue} {sql}")
            statement.values += values
        statement.where.append(f"({' '.join(pieces).strip()})")
    extra_avus(statement, avus)


def extra_avus(statement: Statement, avus: dict[str, int]) -> None:
    """Tables of the second and later AVU that a query asks for."""
    for owner, key in (("d", "data_id"), ("c", "coll_id")):
        for place in range(2, avus[f"{owner}m"] + 1):
            if owner not in statement.tables:
                statement.tables.append(owner)
            main, map_ = f"{owner}m{place}", f"{owner}mm{place}"
            statement.where += [f"{map_}.object_id = {owner}.{key}", f"{map_}.meta_id = {main}.meta_id"]
            statement.joins.append(f"join r_meta_main {main} join r_objt_metamap {map_}")


def alternatives(text: str) -> list[tuple[str, str]]:
    """Split a condition at || and &&; once there is one outside of quotes, those inside split too, as on the server."""
    outside = re.sub(r"'[^']*'", " ", text)
    if "||" not in outside and "&&" not in outside:
        return [("", text)]
    pieces = re.split(r"(\|\||&&)", text)
    return [("", pieces[0])] + [
        ("or" if glue == "||" else "and", part) for glue, part in zip(pieces[1::2], pieces[2::2], strict=True)
    ]


def condition(column: str, text: str, options: int) -> tuple[str, list[object]]:
    """One comparison as SQL; its value stands between the first and the last quote, so quotes inside need no escape."""
    stripped = text.strip()
    word = stripped[:8].lower()
    plain, column = column, f"upper({column})" if options & UPPER_CASE else column
    if stripped in ("IS NULL", "IS NOT NULL"):
        return f"{column} {stripped}", []
    if word.startswith("in") or word.startswith("between"):
        quoted: list[object] = list(re.findall(r"'([^']*)'", stripped))
        if word.startswith("in") and quoted:
            return f"{column} in ({', '.join('?' * len(quoted))})", quoted
        if word.startswith("between") and len(quoted) == 2:
            return f"{column} between ? and ?", quoted
        raise IrodsError(Code.CAT_INVALID_ARGUMENT, f"condition {text!r}")
    match, end = OPERATOR.match(text), text.rfind("'")
    if match is None or end < match.end():
        raise IrodsError(Code.CAT_INVALID_ARGUMENT, f"condition {text!r}")
    value = text[match.end() : end]
    operator = match[1].lower()
    if operator.startswith("n") and operator[1] in "<>=":
        return f"cast({plain} as real) {operator[1:]} cast(? as real)", [value]
    return comparison(column, operator, value)


def comparison(column: str, operator: str, value: str) -> tuple[str, list[object]]:
    """One comparison of texts."""
    if operator == "begin_of":
        return f"({column} = substr(?, 1, length({column})) and length({column}) > 0)", [value]
    if operator == "parent_of":
        parts = value.split("/")
        parents: list[object] = ["/".join(parts[: end + 1]) or "/" for end in range(len(parts))]
        return f"{column} in ({', '.join('?' * len(parents))})", parents
    if operator.endswith("like"):
        return f"{column} {operator} ? escape '\\'", [value]
    return f"{column} {operator} ?", [value]


def from_clause(statement: Statement) -> None:
    """Join the tables in use over the shortest paths through the graph."""
    joined = [statement.tables[0]]
    clauses = [f"{TABLES[joined[0]]} {joined[0]}"]
    while missing := [alias for alias in statement.tables if alias not in joined]:
        path = path_to(joined, missing)
        for left, right in pairwise(path):
            on = EDGES.get((left, right)) or EDGES[right, left]
            clauses.append(f"join {TABLES[right]} {right} on {on}")
            joined.append(right)
    statement.tables = joined
    statement.joins = clauses + statement.joins


def path_to(joined: list[str], missing: Sequence[str]) -> list[str]:
    """Shortest way from any joined table to any missing one, both ends included."""
    queue = deque([[alias] for alias in joined])
    reached = set(joined)
    while queue:
        path = queue.popleft()
        if path[-1] in missing:
            return path
        for pair in EDGES:
            if path[-1] in pair:
                other = pair[1 - pair.index(path[-1])]
                if other not in reached:
                    reached.add(other)
                    queue.append([*path, other])
    raise IrodsError(Code.CAT_FAILED_TO_LINK_TABLES, f"no join from {joined} to {list(missing)}")


def restrict(statement: Statement, actor: Actor) -> None:
    """Leave only what an ordinary user may see; metadata of a data object needs less than the object itself."""
    if actor.is_admin:
        return
    for alias, key in (("d", "data_id"), ("c", "coll_id")):
        if alias in statement.tables:
            needed = READ_METADATA if f"{alias}m" in statement.tables else READ_OBJECT
            statement.where.append(
                f"exists (select 1 from r_objt_access oa join r_user_group og on og.group_user_id = oa.user_id where "
                f"oa.object_id = {alias}.{key} and og.user_id = ? and oa.access_type_id >= {needed})"
            )
            statement.values.append(actor.user_id)


def pack_page(columns: Sequence[int], rows: Sequence[Sequence[object]], continuation: int, total: int) -> str:
    """Rows as the server sends them: column by column."""
    packed = []
    for place, number in enumerate(columns):
        cells = ["" if row[place] is None else str(row[place]) for row in rows]
        if any(len(cell) * 4 > CELL_LIMIT and len(cell.encode()) > CELL_LIMIT for cell in cells):
            raise IrodsError(Code.CAT_GET_ROW_ERR, f"a value of column {number} is longer than {CELL_LIMIT} bytes")
        longest = max(map(len, cells), default=0) + 1
        values = [item("value", cell) for cell in cells]
        packed.append(struct_of("SqlResult_PI", item("attriInx", number), item("reslen", longest), *values))
    head = [item("rowCnt", len(rows)), item("attriCnt", len(columns) if rows else 0)]
    return struct_of("GenQueryOut_PI", *head, item("continueInx", continuation), item("totalRowCount", total), *packed)


@dataclass
class OpenStatement:
    """A query that is not read to its end: its cursor and the database connection that it lives on."""

    cursor: sqlite3.Cursor
    reader: sqlite3.Connection | None = None

    def close(self) -> None:
        self.cursor.close()
        if self.reader is not None:
            self.reader.close()
