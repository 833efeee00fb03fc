"""The one base of all our models, and reading YAML into them with every problem at once.

Knows YAML and pydantic; knows nothing of tools or pipelines.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from snakescope.errors import InputError, Problem, problem

SAFE_NAME = r"^[a-z][a-z0-9_]*$"


class Model(BaseModel):
    """Frozen, unknown keys rejected; every field carries the sentence that documents it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True, strict=True
    )


M = TypeVar("M", bound=Model)
Fault = tuple[str, str, str | None]
MAX_DEPTH = 50


class FaultsError(ValueError):
    """Raised by a validator that has found several things wrong: key below the model, message, what to do."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{key}: {message}" if key else message for key, message, _ in faults))
        self.faults = tuple(faults)


class _StrictLoader(yaml.CSafeLoader):
    """YAML that refuses a key given twice, which plain YAML readers drop, and says where a day is none."""


def _mapping_without_duplicates(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="found a list or a mapping as a key", problem_mark=key_node.start_mark)
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node)


def _number_without_colons(loader: _StrictLoader, node: yaml.ScalarNode) -> int | float:
    number = loader.construct_yaml_float(node) if node.tag.endswith("float") else loader.construct_yaml_int(node)
    if ":" in node.value:  # in base 60: 24:00:00, as Slurm writes a day, would be 86400
        message = f"{node.value} would be the number {number}; write that, or text in quotes"
        raise yaml.MarkedYAMLError(problem=message, problem_mark=node.start_mark)
    return number


for _kind in ("int", "float"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _number_without_colons)


def _timestamp(loader: _StrictLoader, node: yaml.ScalarNode) -> Any:
    try:
        return loader.construct_yaml_timestamp(node)
    except ValueError as error:
        told = f"{node.value!r} is no day or time ({error})"
        raise yaml.MarkedYAMLError(problem=told, problem_mark=node.start_mark) from None


_StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", _timestamp)
_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises
    ------
    InputError
        If the file is missing, is not UTF-8 YAML, holds a key twice or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        _check_depth(text)
        data = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a safe loader
    except FileNotFoundError:
        raise problem(path, "no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise problem(path, f"cannot be read ({error})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise problem(place, f"not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, IndexError) as error:  # a date or number that is none ends in a ValueError
        raise problem(path, f"not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(data, dict):
        found = "nothing" if data is None else type(data).__name__
        raise problem(path, f"found {found}; expected `key: value` lines")
    return data


def _check_depth(text: str) -> None:
    """Refuse nesting that no file of ours has: the C library that reads YAML crashes on very deep ones."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested more than {MAX_DEPTH} deep", problem_mark=event.start_mark)  # type: ignore[arg-type]


def parse(model: type[M], data: dict[str, Any], where: object) -> M:
    """Check `data` against a model.

    Raises
    ------
    InputError
        With one problem for each key that is wrong.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InputError(_problems(error, str(where), model, data)) from None


def _problems(error: ValidationError, where: str, model: type[Model], data: dict[str, Any]) -> Iterator[Problem]:
    for key, items in _by_key(error, data).items():
        faults = getattr(items[0].get("ctx", {}).get("error"), "faults", ())
        for below, message, fix in faults:
            yield Problem(_where(where, [*key, *filter(None, [below])]), message, fix)
        if not faults:
            yield Problem(_where(where, key), _message(items), _suggestion(items[0], model))


def _where(file: str, key: Sequence[Any]) -> str:
    return f"{file}: {'.'.join(map(str, key))}" if key else file


def _by_key(error: ValidationError, data: dict[str, Any]) -> dict[tuple[Any, ...], list[Any]]:
    """What pydantic found, by the key that a reader sees: one key that fits no member of a union is one problem."""
    found: dict[tuple[Any, ...], list[Any]] = {}
    for item in error.errors(include_url=False):
        found.setdefault(_place(item, data), []).append(item)
    below = {key[:end] for key in found for end in range(len(key))}
    # A mapping or list that one member of a union takes: say what is wrong inside, not that the others want text.
    return {key: items for key, items in found.items() if not (key in below and all(map(_is_type_error, items)))}


def _place(item: Any, data: Any) -> tuple[Any, ...]:
    """The keys of an error's place that stand in the file; pydantic also names members of unions and validators."""
    here, keys = data, []
    loc = item["loc"]
    for index, part in enumerate(loc):
        if (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int)):
            here = here[part]
            keys.append(part)
        elif item["type"] == "missing" and index == len(loc) - 1:
            keys.append(part)
    return tuple(keys)


def _is_type_error(item: Any) -> bool:
    return str(item["type"]).endswith("_type")


_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "`key: value` lines",
    "model_type": "`key: value` lines",
}


def _message(items: list[Any]) -> str:
    telling = [item for item in items if item["type"] not in _KINDS] or items
    kind, found = telling[0]["type"], telling[0].get("input")
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "unknown key"
    if kind in ("value_error", "assertion_error"):
        return str(telling[0]["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return f"found {short(found)}; expected {_either([_expected(item) for item in telling])}"


def _expected(item: Any) -> str:
    kind = item["type"]
    if kind == "string_pattern_mismatch":
        pattern = item["ctx"]["pattern"]
        is_name = pattern == SAFE_NAME
        return "lower-case letters, digits and '_', a letter first" if is_name else f"text of the form {pattern}"
    if kind in ("string_too_long", "too_short"):
        context = item["ctx"]
        return f"at most {context['max_length']} characters" if "max_length" in context else "one or more"
    text = str(item["msg"]).removeprefix("Input should be ")
    return _KINDS.get(kind) or text[:1].lower() + text[1:]


def _either(kinds: list[str]) -> str:
    unique = list(dict.fromkeys(kinds))
    if "a number" in unique and "a whole number" in unique:
        unique.remove("a whole number")
    return " or ".join(filter(None, [", ".join(unique[:-1]), unique[-1]]))


def _suggestion(item: Any, model: type[Model]) -> str | None:
    if item["type"] != "extra_forbidden":
        return None
    names = known_fields(model, item["loc"][:-1])
    near = near_miss(str(item["loc"][-1]), names)
    return near or f"Known keys: {', '.join(names)}." if names else None


def known_fields(model: type[Model], loc: tuple[Any, ...]) -> list[str]:
    """Names of the keys allowed at a place inside `model`; empty where no model stands there."""
    here: type[Model] | None = model
    for part in loc:
        field = here.model_fields.get(str(part)) if here else None
        if field is not None:  # a key of a dict or an index of a list stays at the same model
            here = _model_inside(field.annotation)
    return [field.alias or name for name, field in here.model_fields.items()] if here else []


def _model_inside(annotation: Any) -> type[Model] | None:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    return next(filter(None, map(_model_inside, get_args(annotation))), None)


def near_miss(word: str, known: Iterable[str]) -> str | None:
    """Say ``Did you mean 'x'?`` when a known word is close to the one found."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else None


def short(value: object) -> str:
    """A value as it stands in a message; a long or nested one is cut."""
    text = reprlib.repr(value) if isinstance(value, dict | list) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def yaml_text(data: Mapping[str, Any]) -> str:
    """YAML of plain values, keys in their order."""
    text: str = yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=110)
    return text
