"""The one base of all our models, and reading YAML into them with every problem at once.

Knows YAML and pydantic; knows nothing of tools or pipelines.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from snakescope.errors import InputError, Problem, problem

SAFE_NAME = r"^[a-z][a-z0-9_]*$"


class Model(BaseModel):
    """Frozen, unknown keys rejected; every field carries the sentence that documents it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True)


M = TypeVar("M", bound=Model)


class _StrictLoader(yaml.CSafeLoader):
    """YAML that refuses a key given twice, which plain YAML readers drop without a word."""


def _mapping_without_duplicates(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises
    ------
    InputError
        If the file is missing, is not UTF-8 YAML, holds a key twice or is not a mapping.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 - a safe loader
    except FileNotFoundError:
        raise problem(path, "no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise problem(path, f"cannot be read ({error})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise problem(place, f"not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise problem(path, f"not valid YAML: {error}") from None
    if not isinstance(data, dict):
        found = "nothing" if data is None else type(data).__name__
        raise problem(path, f"found {found}; expected `key: value` lines")
    return data


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
        raise InputError(_problems(error, str(where), model)) from None


def _problems(error: ValidationError, where: str, model: type[Model]) -> Iterable[Problem]:
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"] if not str(part).startswith("function-"))
        place = f"{where}: {key}" if key else where
        yield Problem(place, _message(item), _suggestion(item, model))


def _message(item: Any) -> str:
    kind, found = item["type"], item.get("input")
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "unknown key"
    text = str(item["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if kind in ("value_error", "assertion_error"):
        return text
    text = text.removeprefix("Input should be ")
    return f"found {_short(found)}; expected {text[:1].lower() + text[1:]}"


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


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
