"""The second general query: a text in a small SQL of its own, answered as JSON in one piece.

The metadata join is a left join; equal rows come as often as the joins make them, permission joins included, unless the
query says DISTINCT; without a limit the first 256 rows are all there is.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from irods_zone.catalogue import Actor, Catalogue
from irods_zone.errors import Code, IrodsError, refuse

DEFAULT_LIMIT = 256
COLUMNS_OF = {
    ("ZONE", "R_ZONE_MAIN"): (
        "ID=zone_id NAME=zone_name TYPE=zone_type_name CONNECTION=zone_conn_string COMMENT=r_comment "
        "CREATE_TIME=create_ts MODIFY_TIME=modify_ts"
    ),
    ("USER", "R_USER_MAIN"): (
        "ID=user_id NAME=user_name TYPE=user_type_name ZONE=zone_name INFO=user_info COMMENT=r_comment "
        "CREATE_TIME=create_ts MODIFY_TIME=modify_ts"
    ),
    ("RESC", "R_RESC_MAIN"): (
        "ID=resc_id NAME=resc_name ZONE_NAME=zone_name TYPE_NAME=resc_type_name CLASS_NAME=resc_class_name "
        "HOSTNAME=resc_net VAULT_PATH=resc_def_path FREE_SPACE=free_space FREE_SPACE_TIME=free_space_ts "
        "INFO=resc_info COMMENT=r_comment STATUS=resc_status CREATE_TIME=create_ts MODIFY_TIME=modify_ts "
        "CHILDREN=resc_children CONTEXT=resc_context PARENT_ID=resc_parent PARENT_CONTEXT=resc_parent_context"
    ),
    ("DATA", "R_DATA_MAIN"): (
        "ID=data_id COLL_ID=coll_id NAME=data_name REPL_NUM=data_repl_num VERSION=data_version "
        "TYPE_NAME=data_type_name SIZE=data_size PATH=data_path REPL_STATUS=data_is_dirty STATUS=data_status "
        "CHECKSUM=data_checksum EXPIRY=data_expiry_ts MAP_ID=data_map_id COMMENTS=r_comment "
        "ACCESS_TIME=access_ts CREATE_TIME=create_ts MODIFY_TIME=modify_ts MODE=data_mode RESC_ID=resc_id "
        "RESC_HIER=resc_hier"
    ),
    ("COLL", "R_COLL_MAIN"): (
        "ID=coll_id NAME=coll_name PARENT_NAME=parent_coll_name MAP_ID=coll_map_id "
        "INHERITANCE=coll_inheritance COMMENTS=r_comment CREATE_TIME=create_ts MODIFY_TIME=modify_ts "
        "TYPE=coll_type INFO1=coll_info1 INFO2=coll_info2"
    ),
    ("GROUP", "R_USER_GROUP"): ("ID=group_user_id MEMBER_ID=user_id"),
}
META = (
    "ATTR_NAME=meta_attr_name ATTR_VALUE=meta_attr_value ATTR_UNITS=meta_attr_unit ATTR_ID=meta_id "
    "CREATE_TIME=create_ts MODIFY_TIME=modify_ts"
)
ACCESS = (("PERM_ID", "oa", "access_type_id"), ("PERM_NAME", "t", "token_name"), ("USER_ID", "oa", "user_id"),
          ("USER_NAME", "u", "user_name"), ("USER_ZONE", "u", "zone_name"))  # fmt: skip

KEYS = {"R_DATA_MAIN": "data_id", "R_COLL_MAIN": "coll_id", "R_RESC_MAIN": "resc_id", "R_USER_MAIN": "user_id"}


@dataclass(frozen=True)
class Column:
    """Where a named column comes from: its own table, or an alias that joins to an owner."""

    table: str
    name: str
    alias: str = ""
    owner: str = ""


def named(pairs: str) -> list[list[str]]:
    """Keys and columns of a line of `KEY=column`."""
    return [pair.split("=") for pair in pairs.split()]


def _columns() -> dict[str, Column]:
    found = {}
    for (prefix, table), pairs in COLUMNS_OF.items():
        for key, name in named(pairs):
            found[f"{prefix}_{key}"] = Column(table, name)
        for key, name in named(META) if table in KEYS else ():
            found[f"META_{prefix}_{key}"] = Column("R_META_MAIN", name, f"mm{prefix[0].lower()}", table)
    tables = {"oa": "R_OBJT_ACCESS", "t": "R_TOKN_MAIN", "u": "R_USER_MAIN"}
    for prefix in ("DATA", "COLL"):
        for key, alias, name in ACCESS:
            column = Column(tables[alias], name, f"p{prefix[0].lower()}{alias}", f"R_{prefix}_MAIN")
            found[f"{prefix}_ACCESS_{key}"] = column
    return found


COLUMNS = _columns()
JOINS = {
    frozenset({"R_COLL_MAIN", "R_DATA_MAIN"}): {"": "coll_id"},
    frozenset({"R_DATA_MAIN", "R_RESC_MAIN"}): {"": "resc_id"},
    frozenset({"R_USER_MAIN", "R_USER_GROUP"}): {"": "user_id", "R_USER_GROUP": "group_user_id"},
}
FUNCTIONS = {"count", "sum", "avg", "min", "max", "upper", "lower", "length", "concat", "substr"}
CASTS = {"int": "integer", "integer": "integer", "bigint": "integer", "decimal": "numeric", "text": "text",
         "double": "real", "varchar": "text"}  # fmt: skip
COMPARE = {"=": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|(-?\d+)|([A-Za-z_]\w*)|(<=|>=|<>|!=|[=<>(),]))")


@dataclass
class Parser:
    """One query on its way from text to SQL."""

    tokens: list[str]
    place: int = 0
    tables: list[str] = field(default_factory=list)
    meta: list[str] = field(default_factory=list)
    values: list[object] = field(default_factory=list)

    def peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def accept(self, *words: str) -> bool:
        """Step over these words if they come next."""
        ahead = [token.upper() for token in self.tokens[self.place : self.place + len(words)]]
        if ahead != list(words):
            return False
        self.place += len(words)
        return True

    def expect(self, *words: str) -> None:
        if not self.accept(*words):
            raise self.error(" ".join(words))

    def take(self) -> str:
        self.place += 1
        if self.place > len(self.tokens):
            raise self.error("more")
        return self.tokens[self.place - 1]

    def error(self, expected: str) -> IrodsError:
        return IrodsError(
            Code.SYS_LIBRARY_ERROR, f"query has {self.peek()!r} at word {self.place}; expected {expected}"
        )

    def literal(self) -> str:
        """A text in quotes; two quotes inside stand for one."""
        token = self.take()
        if not token.startswith("'"):
            self.place -= 1
            raise self.error("a text in quotes")
        return token[1:-1].replace("''", "'")

    def number(self) -> int:
        token = self.take()
        if not token.isdigit():
            self.place -= 1
            raise self.error("a number")
        return int(token)

    def column(self, name: str) -> str:
        """SQL of a named column; notes the tables that it needs."""
        found = COLUMNS.get(name.upper())
        if found is None:
            raise IrodsError(Code.SYS_LIBRARY_ERROR, f"unknown column: {name}")
        table = found.owner or found.table
        if table not in self.tables:
            self.tables.append(table)
        if found.alias.startswith("mm") and found.alias not in self.meta:
            self.meta.append(found.alias)
        return f"{found.alias or alias_of(table)}.{found.name}"

    def expression(self) -> str:
        """A column, a cast or a function."""
        name = self.take()
        if name.upper() == "CAST":
            self.expect("(")
            column = self.column(self.take())
            self.expect("AS")
            kind = CASTS.get(self.take().lower())
            if kind is None:
                raise refuse(f"a cast to {self.tokens[self.place - 1]}", Code.SYS_LIBRARY_ERROR)
            if self.accept("("):
                self.number()
                self.expect(")")
            self.expect(")")
            return f"cast({column} as {kind})"
        return self.function(name) if self.accept("(") else self.column(name)

    def function(self, name: str) -> str:
        if name.lower() not in FUNCTIONS:
            raise refuse(f"the query function {name}", Code.SYS_LIBRARY_ERROR)
        distinct = "distinct " if self.accept("DISTINCT") else ""
        arguments = []
        while not self.accept(")"):
            ahead = self.peek()
            if ahead.startswith("'"):
                arguments.append("'{}'".format(self.literal().replace("'", "''")))
            else:
                arguments.append(str(self.number()) if ahead.isdigit() else self.expression())
            if self.peek() != ")":
                self.expect(",")
        return f"{name.lower()}({distinct}{', '.join(arguments)})"

    def listed(self) -> list[str]:
        found = [self.expression()]
        while self.accept(","):
            found.append(self.expression())
        return found

    def conditions(self) -> str:
        """Conditions bound as SQL binds them: not, then and, then or."""
        found = self.conjunction()
        while self.accept("OR"):
            found += f" or {self.conjunction()}"
        return found

    def conjunction(self) -> str:
        found = self.negation()
        while self.accept("AND"):
            found += f" and {self.negation()}"
        return found

    def negation(self) -> str:
        if self.accept("NOT"):
            return f"not {self.negation()}"
        if self.accept("("):
            inner = self.conditions()
            self.expect(")")
            return f"({inner})"
        return self.comparison()

    def comparison(self) -> str:
        left = self.expression()
        if self.accept("IS", "NULL"):
            return f"{left} is null"
        if self.accept("IS", "NOT", "NULL"):
            return f"{left} is not null"
        negated = "not " if self.accept("NOT") else ""
        if self.accept("LIKE"):
            return f"{left} {negated}like {self.bind()} escape '\\'"
        if self.accept("BETWEEN"):
            low = self.bind()
            self.expect("AND")
            return f"{left} {negated}between {low} and {self.bind()}"
        if self.accept("IN", "("):
            bound = [self.bind()]
            while self.accept(","):
                bound.append(self.bind())
            self.expect(")")
            return f"{left} {negated}in ({', '.join(bound)})"
        operator = COMPARE.get(self.peek())
        if negated or operator is None:
            raise self.error("a comparison")
        self.take()
        return f"{left} {operator} {self.bind()}"

    def bind(self) -> str:
        self.values.append(self.literal())
        return "?"


def alias_of(table: str) -> str:
    return {"R_USER_GROUP": "t_group"}.get(table, f"t_{table[2:6].lower()}")


def compile_query(text: str, actor: Actor) -> tuple[str, list[object]]:
    """SQL and values of a query as that user may run it."""
    parser = Parser(tokens_of(text))
    parser.expect("SELECT")
    distinct = "distinct " if parser.accept("DISTINCT") else ""
    columns = parser.listed()
    where = parser.conditions() if parser.accept("WHERE") else ""
    tail = grouping(parser) + ordering(parser)
    limit, offset = paging(parser)
    tail = tail or ordering(parser)
    if parser.peek():
        raise parser.error("the end")
    joins = join_tables(parser)
    permission, values = permissions(parser, actor)
    both = " and ".join(filter(None, [f"({where})" if where else "", *permission]))
    sql = f"select {distinct}{', '.join(columns)} from {joins}{f' where {both}' if both else ''}{tail}"
    return f"{sql} limit {limit}{f' offset {offset}' if offset else ''}", parser.values + values


def tokens_of(text: str) -> list[str]:
    """Words, texts, numbers and signs of a query."""
    found, place, text = [], 0, text.strip()
    while place < len(text):
        match = TOKEN.match(text, place)
        if match is None:
            raise IrodsError(Code.SYS_LIBRARY_ERROR, f"query is not understood from {text[place : place + 20]!r}")
        found.append(match[0].strip())
        place = match.end()
    return found


def grouping(parser: Parser) -> str:
    return f" group by {', '.join(parser.listed())}" if parser.accept("GROUP", "BY") else ""


def ordering(parser: Parser) -> str:
    """The order asked for, if any."""
    if not parser.accept("ORDER", "BY"):
        return ""
    found = []
    while True:
        expression = parser.expression()
        found.append(expression + (" desc" if parser.accept("DESC") else ""))
        parser.accept("ASC")
        if not parser.accept(","):
            return f" order by {', '.join(found)}"


def paging(parser: Parser) -> tuple[int, int]:
    """Limit and offset in any order."""
    limit, offset = DEFAULT_LIMIT, 0
    while True:
        if parser.accept("LIMIT"):
            limit = parser.number()
        elif parser.accept("OFFSET"):
            offset = parser.number()
        elif parser.accept("FETCH", "FIRST"):
            limit = parser.number()
            parser.expect("ROWS", "ONLY")
        else:
            return limit, offset


def join_tables(parser: Parser) -> str:
    """Inner joins between tables that touch, then permissions, then left joins of metadata."""
    first, *rest = parser.tables
    joined, sql = [first], f"{first} {alias_of(first)}"
    while rest:
        found = next(((a, b) for a in joined for b in rest if frozenset({a, b}) in JOINS), None)
        if found is None:
            raise IrodsError(Code.SYS_LIBRARY_ERROR, f"invalid general query: {rest} does not join {joined}")
        keys = JOINS[frozenset(found)]
        left, right = (f"{alias_of(table)}.{keys.get(table, keys[''])}" for table in found)
        sql += f" inner join {found[1]} {alias_of(found[1])} on {left} = {right}"
        joined.append(found[1])
        rest.remove(found[1])
    for table in ("R_DATA_MAIN", "R_COLL_MAIN"):
        if table in joined:
            sql += permission_joins(f"p{table[2].lower()}", f"{alias_of(table)}.{KEYS[table]}")
    for alias in parser.meta:
        table = next(column.owner for column in COLUMNS.values() if column.alias == alias)
        key = f"{alias_of(table)}.{KEYS[table]}"
        sql += f" left join R_OBJT_METAMAP o{alias} on {key} = o{alias}.object_id"
        sql += f" left join R_META_MAIN {alias} on o{alias}.meta_id = {alias}.meta_id"
    return sql


def permission_joins(prefix: str, key: str) -> str:
    """Every permission, and every member of every group that has one, makes a row."""
    return (
        f" inner join R_OBJT_ACCESS {prefix}oa on {key} = {prefix}oa.object_id"
        f" inner join R_TOKN_MAIN {prefix}t on {prefix}oa.access_type_id = {prefix}t.token_id"
        f" inner join R_USER_GROUP {prefix}ug on {prefix}oa.user_id = {prefix}ug.group_user_id"
        f" inner join R_USER_MAIN {prefix}u on {prefix}ug.user_id = {prefix}u.user_id"
    )


def permissions(parser: Parser, actor: Actor) -> tuple[list[str], list[object]]:
    """Conditions that hide what the user may not see; an administrator sees all."""
    where: list[str] = []
    values: list[object] = []
    for table in ("R_DATA_MAIN", "R_COLL_MAIN"):
        if table in parser.tables and not actor.is_admin:
            prefix = f"p{table[2].lower()}"
            where.append(f"{prefix}u.user_id = ? and {prefix}oa.access_type_id >= 1050")
            values.append(actor.user_id)
    return where, values


def run(catalogue: Catalogue, actor: Actor, text: str) -> str:
    """Rows as JSON: lists of texts, an absent value as an empty one."""
    sql, values = compile_query(text, actor)
    rows = catalogue.rows(sql, *values)
    return json.dumps(
        [["" if cell is None else str(cell) for cell in row] for row in rows], ensure_ascii=False, separators=(",", ":")
    )


def column_mappings() -> str:
    """Columns that a query may name, with their tables, as JSON."""
    return json.dumps({name: {column.table: column.name} for name, column in sorted(COLUMNS.items())})
