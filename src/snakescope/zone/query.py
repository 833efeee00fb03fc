"""General queries, read to their end at once, and conditions that every server reads alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

from irods import exception as failures
from irods.api_number import api_number
from irods.column import Column, Criterion
from irods.message import GenQueryResponse, iRODSMessage
from irods.models import Collection
from irods.query import Query

from snakescope.zone.session import Session

PAGE = 5_000
# Control characters that the usual parser stops at, or (a carriage return) silently changes.
_CONTROL = re.compile(rb"[\x01-\x08\x0b-\x1f]")

Line = tuple[str, ...]
Answer = TypeVar("Answer")


def select(session: Session, columns: Sequence[Column], criteria: Sequence[Criterion]) -> list[Line]:
    """All lines of a query; see `read`."""
    return read(session, Query(session.raw, *columns), criteria)


def read(session: Session, query: Query, criteria: Sequence[Criterion]) -> list[Line]:
    """All lines of a query, over one connection that nothing else uses meanwhile: its pages belong to it."""
    query = query.filter(*criteria).limit(PAGE)
    if session.address.zone != session.environment.user_zone:
        query = query.add_keyword("zone", session.address.zone)
    lines: list[Line] = []
    with session.raw.pool.get_connection() as connection:
        while True:
            try:
                page, more = call(session, connection, "GEN_QUERY_AN", query._message(), _lines)
            except failures.CAT_NO_ROWS_FOUND:
                return lines
            lines += page
            if more <= 0:
                return lines
            query = query.continue_index(more)


def call(session: Session, connection: Any, api: str, message: object, answer: Callable[[Any], Answer]) -> Answer:
    """Send one request and read the reply, with the parser that its text needs."""
    connection.send(iRODSMessage("RODS_API_REQ", msg=message, int_info=api_number[api]))
    response = connection.recv()
    with session.tolerant() if _CONTROL.search(response.msg) else nullcontext():
        return answer(response)


def _lines(response: Any) -> tuple[list[Line], int]:
    """Lines of a page, which comes column by column, and the index of the next page."""
    page = response.get_main_message(GenQueryResponse)
    columns = [[cell or "" for cell in column.value] for column in page.SqlResult_PI[: page.attriCnt]]
    return list(zip(*columns, strict=True)), page.continueInx


# ---------------------------------------------------------------------------- conditions


def wild(text: str) -> str:
    """A pattern that matches a text, and perhaps others: what servers read in different ways is ``_``, any sign."""
    return re.sub(r"""['"`\\|&]""", "_", text)


def is_plain(text: str) -> bool:
    """Whether every server reads a text in a condition as it is; others are asked for by a pattern, see `wild`."""
    return wild(text) == text


def equals(column: Column, text: str) -> Criterion:
    """That a column holds a text, or one that looks like it; which one is to be seen from the answer."""
    return Criterion("=" if is_plain(text) else "like", column, wild(text))


def below(root: str) -> Criterion:
    """That a collection is `root` or lies below it, or looks like it; see `is_below`."""
    same = "=" if is_plain(root) else "like"
    return Criterion(f"{same} '{wild(root)}' || like", Collection.name, f"{wild(root)}/%")


def is_below(path: str, root: str) -> bool:
    """Whether a path is `root` or lies below it."""
    return path == root or path.startswith(f"{root}/")
