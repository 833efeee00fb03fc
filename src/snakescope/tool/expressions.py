"""Small safe arithmetic over image geometry and parameters, for resources, output shapes and conditions.

An expression is one line such as ``400 + 12 * voxels / 1e6`` or ``ceil(shape.z * sin(radians(angle_deg)))``.
Only numbers, strings, names, dotted names, operators, comparisons and the functions of `FUNCTIONS` are
understood; nothing else is ever evaluated. ``in.PORT`` names an input, as in ``bytes(in.image)``.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

Value = float | int | str | bool | None

MAX_LENGTH, MAX_NESTING = 500, 50

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "cos": math.cos,
    "floor": math.floor,
    "log2": math.log2,
    "max": max,
    "min": min,
    "radians": math.radians,
    "round": round,
    "sin": math.sin,
    "sqrt": math.sqrt,
    "tan": math.tan,
}
_ARGUMENTS = {"bytes": (1, 1), "max": (2, 99), "min": (2, 99), "round": (1, 2)}  # the others take one
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class ExpressionError(ValueError):
    """The text is not an expression of this small language, or names something unknown."""


class UnknownValueError(ValueError):
    """A value that the expression needs is not known (None), so neither is the result."""


def compile_expression(source: str) -> ast.expr:
    """Parse an expression and check that it stays within the language.

    Raises
    ------
    ExpressionError
        Saying what is not understood.
    """
    text = re.sub(r"\bin\.(?=[A-Za-z_])", "inputs.", source.strip())
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"found {len(text)} characters; expected an expression of at most {MAX_LENGTH}")
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ExpressionError(f"found {source!r}; expected arithmetic such as '400 + 12 * voxels / 1e6'") from None
    _check(tree, source)
    return tree


def _check(node: ast.expr, source: str, depth: int = 0) -> None:
    if depth > MAX_NESTING:
        raise ExpressionError(f"{source!r} is nested more than {MAX_NESTING} deep")
    match node:
        case ast.Constant(value=bool() | int() | float()) | ast.Name():
            return
        case ast.Attribute() if dotted(node) is not None:
            return
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            children: list[ast.expr] = [left, right]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not(), operand=operand):
            children = [operand]
        case ast.BoolOp(values=values):
            children = values
        case ast.Compare(left=left, ops=ops, comparators=rest) if all(type(op) in _COMPARE for op in ops):
            children = [term for term in (left, *rest) if not _is_text(term)]
        case ast.IfExp(test=test, body=body, orelse=orelse):
            children = [test, body, orelse]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS or name == "bytes":
            _check_call(name, args, source)
            children = args
        case _:
            raise ExpressionError(f"{ast.unparse(node)!r} in {source!r} is not allowed; {_ALLOWED}")
    for child in children:
        _check(child, source, depth + 1)


_ALLOWED = "use numbers, names and + - * / only, and texts in comparisons"


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _check_call(name: str, args: list[ast.expr], source: str) -> None:
    least, most = _ARGUMENTS.get(name, (1, 1))
    if not least <= len(args) <= most:
        expected = f"{least}" if least == most else f"{least} or more"
        raise ExpressionError(f"{name}() in {source!r} has {len(args)} values; expected {expected}")
    if name == "bytes" and dotted(args[0]) is None:
        raise ExpressionError(f"{ast.unparse(args[0])!r} in {source!r}; expected an input, as in bytes(in.image)")


def dotted(node: ast.expr) -> str | None:
    """The text of a plain or dotted name (``shape.z``), else None."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else None
    return None


def names_in(tree: ast.expr) -> set[str]:
    """All plain and dotted names that an expression reads; ``bytes(in.image)`` reads ``inputs.image.bytes``."""
    match tree:
        case ast.Name() | ast.Attribute():
            name = dotted(tree)
            return {name} if name else set()
        case ast.Call(func=ast.Name(id="bytes"), args=[arg]):
            return {f"{dotted(arg)}.bytes"}
        case ast.Call(args=args):
            return set().union(*(names_in(arg) for arg in args))
        case _:
            children = (child for child in ast.iter_child_nodes(tree) if isinstance(child, ast.expr))
            return set().union(*(names_in(child) for child in children))


@lru_cache(maxsize=4096)
def _parsed(source: str) -> ast.expr:
    return compile_expression(source)


def evaluate(source: str | float, names: Mapping[str, Any]) -> Any:
    """Value of an expression.

    Parameters
    ----------
    source
        The expression, or a number, which is its own value.
    names
        Values by plain name; dotted names descend into nested mappings.

    Raises
    ------
    UnknownValueError
        If a value that is needed is None.
    ExpressionError
        If a name is not known, or the arithmetic is impossible (division by 0).
    """
    if not isinstance(source, str):
        return source
    try:
        return _evaluate(_parsed(source), names)
    except (ExpressionError, UnknownValueError):
        raise
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ExpressionError(f"{source!r} has no value here: {error}") from error


def evaluate_number(source: str | float, names: Mapping[str, Any]) -> float:
    """Value of an expression that has to be a finite number.

    Raises
    ------
    UnknownValueError, ExpressionError
        As `evaluate`; also if the value is no number, or not a finite one.
    """
    value = evaluate(source, names)
    try:
        number = float(_number(value))
    except (OverflowError, TypeError):
        number = math.nan
    if not math.isfinite(number):
        raise ExpressionError(f"{source!r} gives {value!r}; expected a finite number")
    return number


def _evaluate(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            return _look_up(dotted(node) or "", names)
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_number(_evaluate(left, names)), _number(_evaluate(right, names)))
        case ast.UnaryOp(op=op, operand=operand):
            value = _evaluate(operand, names)
            if isinstance(op, ast.Not):
                return not value
            return -_number(value) if isinstance(op, ast.USub) else +_number(value)
        case ast.BoolOp(op=op, values=values):
            results = (_evaluate(value, names) for value in values)
            return all(results) if isinstance(op, ast.And) else any(results)
        case ast.Compare(left=left, ops=ops, comparators=rest):
            terms = [_evaluate(term, names) for term in (left, *rest)]
            return all(_COMPARE[type(op)](a, b) for op, a, b in zip(ops, terms, terms[1:], strict=False))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _evaluate(body if _evaluate(test, names) else orelse, names)
        case ast.Call(func=ast.Name(id="bytes"), args=[arg]):
            return _look_up(f"{dotted(arg)}.bytes", names)
        case ast.Call(func=ast.Name(id=name), args=args):
            return FUNCTIONS[name](*(_number(_evaluate(arg, names)) for arg in args))
        case _:
            raise AssertionError(ast.dump(node))


def _number(value: Any) -> Any:
    """The value itself; texts and lists multiply and format in Python, which is not meant here."""
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return value


def _look_up(name: str, names: Mapping[str, Any]) -> Any:
    value: Any = names
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise ExpressionError(f"unknown name {name!r}")
        value = value[part]
        if value is None:
            raise UnknownValueError(f"{name} is not known")
    if isinstance(value, Mapping):
        raise ExpressionError(
            f"{name!r} is not a value; expected one of its parts, such as {name}.{next(iter(value), '')}"
        )
    return value
