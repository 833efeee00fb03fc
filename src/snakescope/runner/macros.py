"""A tool made of an ImageJ macro: what the macro takes and gives is read from its own text.

It reads script parameters (``#@ File input``) or what the macro does with ``getArgument()``. Knows nothing of how a
macro is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from snakescope.errors import InputError, Problem, problem
from snakescope.tool.base import yaml_text
from snakescope.tool.library import SCRIPT_PARAMETER
from snakescope.tool.spec import FIJI, RESERVED, unit_in

Kind = Literal["in", "out", "param"]
_LINE = re.compile(
    r"^\s*(?:#@|//\s*@)\s*(?P<output>output\s+)?(?P<type>[A-Za-z][\w.]*(?:\[\])?)\s*(?:\((?P<attributes>.*)\))?\s*(?P<name>\w+)\s*$"
)
_NUMBERS = {
    "integer": ("byte", "short", "int", "integer", "long", "biginteger"),
    "number": ("float", "double", "number", "bigdecimal"),
}
_GIVEN_BY_FIJI = re.compile(r"(Service|ImageJ|Context)$")
_OUTPUT_NAME = re.compile(r"^(out|save|result|dest|target|write)", re.IGNORECASE)
_INPUT_NAME = re.compile(r"(^in(put)?$|^in_|input|image|path|file|folder|dir)", re.IGNORECASE)
_SAVED_AS = {
    "results": ("csv", "table"), "measurements": ("csv", "table"), "tiff": ("tif", "image"), "tif": ("tif", "image"),
    "png": ("png", "file"), "text": ("txt", "file"), "text image": ("txt", "file"), "xy coordinates": ("txt", "file"),
}  # fmt: skip
_FORMATS = {"csv": "csv", "tif": "tiff", "png": "png", "txt": "txt", "zip": "other"}
_SEPARATORS = ",;|#"


@dataclass(frozen=True)
class Told:
    """One thing that a macro is told.

    Parameters
    ----------
    name
        As the macro has it.
    kind
        A file that it reads, a file that it writes, or a value.
    more
        Of a value: keys of the descriptor's parameter. Of a file: ``directory``, and what it is saved as.
    """

    name: str
    kind: Kind
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Macro:
    """What a macro is told, in its order, and how."""

    style: str
    told: list[Told]


def read_macro(path: Path) -> tuple[str, Macro]:
    """Text of a macro, and what it is told.

    Raises
    ------
    InputError
        If the file cannot be read, or does not say what it reads and writes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise problem(path, f"the macro cannot be read ({why})") from error
    macro = _script(path, text) if SCRIPT_PARAMETER.search(text) else _argument(path, text)
    for kind, what, wanted in (("in", "reads no file", "input"), ("out", "writes no file", "output")):
        if not any(item.kind == kind for item in macro.told):
            line = f"#@ File {'(style=save) ' * (kind == 'out')}{wanted}".replace("=save", '="save"')
            fix = f"Have it be told one: {line if macro.style == 'script' else f'a value called {wanted}'}."
            raise problem(path, f"the macro {what} that it is told of", fix)
    return text, macro


# ---------------------------------------------------------------------------- script parameters


def _script(path: Path, text: str) -> Macro:
    told: list[Told] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not SCRIPT_PARAMETER.match(line):
            continue
        where = f"{path}: line {number}"
        match = _LINE.match(line)
        if match is None:
            problems.append(Problem(where, f"found {line.strip()!r}; expected #@ TYPE (key=value, ...) NAME"))
            continue
        try:
            told += _parameter(where, match, text)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return Macro("script", told)


def _parameter(where: str, match: re.Match[str], text: str) -> Iterator[Told]:
    kind, name = match["type"].rpartition(".")[2], match["name"]
    attributes = dict(_attributes(match["attributes"] or ""))
    if match["output"] or _GIVEN_BY_FIJI.search(kind) or attributes.get("visibility", "").upper() == "MESSAGE":
        return
    if kind == "File":
        style = attributes.get("style", "")
        is_output = "save" in style or ("open" not in style and bool(_OUTPUT_NAME.match(name)))
        yield Told(name, "out" if is_output else "in", _file(name, text) | {"directory": "directory" in style})
        return
    label = attributes.get("label") or name.replace("_", " ")
    param: dict[str, Any] = {
        "type": _type(where, kind, attributes),
        "help": f"{label[:1].upper()}{label[1:].rstrip(':. ')}.",
    }
    if param["type"] in _NUMBERS and (unit := unit_in(name)):
        param["unit"] = unit
    if param["type"] == "choice":
        param["choices"] = _choices(attributes["choices"])
        param["default"] = param["choices"][0] if param["choices"] else None  # as Fiji has it
    for key in ("min", "max"):
        if key in attributes and param["type"] in _NUMBERS:
            param[key] = _number(where, attributes[key], param["type"])
    if "value" in attributes:
        param["default"] = _default(where, attributes["value"], param["type"])
    yield Told(name, "param", param)


def _type(where: str, kind: str, attributes: Mapping[str, str]) -> str:
    for ours, theirs in _NUMBERS.items():
        if kind.lower() in theirs:
            return ours
    if kind.lower() == "boolean":
        return "boolean"
    if kind in ("String", "char", "Character"):
        return "choice" if "choices" in attributes else "text"
    fix = "Take a File, and open it in the macro."
    raise problem(where, f"found the type {kind}; expected File, String, Boolean or a number", fix)


def _attributes(text: str) -> Iterator[tuple[str, str]]:
    """``label="a, b", min=1, choices={"x", "y"}`` as pairs."""
    for key, quoted, braced, bare in re.findall(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|(\{[^}]*\})|([^,]*))', text):
        yield key, quoted or braced or bare.strip()


def _choices(text: str) -> list[str]:
    return [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|([^\s,{}"]+)', text)]


def _number(where: str, text: str, kind: str) -> int | float:
    try:
        return int(text) if kind == "integer" else float(text)
    except ValueError:
        raise problem(where, f"found {text!r}; expected a number") from None


def _default(where: str, text: str, kind: str) -> Any:
    if kind == "boolean":
        return text.lower() == "true"
    return _number(where, text, kind) if kind in _NUMBERS else text


# ---------------------------------------------------------------------------- getArgument()


def _argument(path: Path, text: str) -> Macro:
    code = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
    if "getArgument()" not in code:
        fix = "Give it script parameters (#@ File input), or have it read getArgument()."
        raise problem(path, "the macro is told nothing: it has neither #@ nor getArgument()", fix)
    if re.search(r"List\.setList\s*\(\s*\w+(\(\))?\s*\)", code):
        names = dict.fromkeys(re.findall(r'List\.get(?:Value)?\(\s*"(\w+)"\s*\)', code))
        plain = re.sub(r'List\.get\(\s*"(\w+)"\s*\)', r"\1", code)
        return Macro("list", [_listed(name, plain) for name in names])
    variable = (re.findall(r"(\w+)\s*=\s*getArgument\(\)", code) or [""])[0]
    source = rf"(?:getArgument\(\){f'|{variable}' if variable else ''})"
    match = re.search(rf'(\w+)\s*=\s*split\(\s*{source}\s*(?:,\s*"([^"]*)")?\s*\)', code)
    if match is None:
        return Macro("|", [_named(variable or "input", "", code, "in")])
    if not match[2] or match[2] not in _SEPARATORS:
        fix = f'Split at one of them: split(getArgument(), ",") and {" ".join(_SEPARATORS[1:])}'
        raise problem(
            path, f"the macro splits its argument at {match[2] or 'blanks'!r}; a file name may hold that", fix
        )
    return Macro(match[2], _indexed(path, match[1], code))


def _listed(name: str, code: str) -> Told:
    """One name of a list, where the code has ``name`` for ``List.get("name")``."""
    number = re.search(rf'List\.getValue\(\s*"{name}"\s*\)|parse(?:Float|Int)\(\s*{name}\s*\)', code)
    variable = re.search(rf"(\w+)\s*=\s*{name}\s*;", code)
    return _named(name, "number" if number else "", code, None, variable[1] if variable else None)


def _indexed(path: Path, array: str, code: str) -> list[Told]:
    found: dict[int, Told] = {}
    pattern = rf"(?:(\w+)\s*=\s*)?(parseFloat\(|parseInt\()?\s*{array}\[\s*(\d+)\s*\]"
    plain = re.sub(rf"{array}\[\s*(\d+)\s*\]", r"value_\1", code)
    for name, number, index in re.findall(pattern, code):
        kind = {"parseFloat(": "number", "parseInt(": "integer"}.get(number, "")
        found.setdefault(int(index), _named(name or f"value_{index}", kind, plain, None))
    missing = sorted(set(range(max(found, default=-1) + 1)) - found.keys())
    if missing:
        raise problem(path, f"the macro does not use {array}[{missing[0]}]", "Give every value a name, in their order.")
    return [found[index] for index in sorted(found)]


def _named(name: str, number: str, code: str, kind: Kind | None, variable: str | None = None) -> Told:
    """What a value is, by what the macro does with it, else by its name."""
    used = variable or name
    if number:
        unit = {"unit": found} if (found := unit_in(name)) else {}
        return Told(name, "param", {"type": number, **unit, "help": f"Value of {name}."})
    writes = (
        rf"(?:saveAs\([^,()]*,\s*|save\(\s*|File\.(?:open|append|saveString)\((?:[^()]|\([^()]*\))*?,?\s*){used}\s*\)"
    )
    if re.search(writes, code) or (kind is None and _OUTPUT_NAME.match(name)):
        return Told(name, "out", _file(used, code))
    if (
        kind == "in"
        or re.search(rf"\b(open|getFileList|setImage|importImage)\(\s*{used}\b", code)
        or _INPUT_NAME.search(name)
    ):
        return Told(name, "in", {"directory": bool(re.search(rf"getFileList\(\s*{used}\b", code))})
    return Told(name, "param", {"type": "text", "help": f"Value of {name}."})


def _file(name: str, code: str) -> dict[str, Any]:
    """What a file is saved as, by the command that saves it or by its name."""
    match = re.search(rf'saveAs\(\s*"([^"]+)"\s*,\s*{name}\s*\)', code)
    suffix, kind = _SAVED_AS.get(match[1].lower(), ("", "file")) if match else ("", "file")
    if not suffix and re.search(rf"(Table\.save|\bsave)\(\s*{name}\s*\)", code):
        suffix, kind = ("csv", "table") if re.search(rf"Table\.save\(\s*{name}", code) else ("tif", "image")
    if not suffix and re.search(r"table|csv|results?$", name, re.IGNORECASE):
        suffix, kind = "csv", "table"
    if kind == "image" and (word := re.search(r"label|mask", name, re.IGNORECASE)):
        kind = {"label": "labels", "mask": "mask"}[word[0].lower()]
    return {"suffix": suffix or "txt", "type": kind}


# ---------------------------------------------------------------------------- the tool


def macro_texts(name: str, path: Path) -> dict[str, str]:
    """Files of a tool that runs a macro, by their paths in its folder.

    Raises
    ------
    InputError
        As `read_macro`.
    """
    text, macro = read_macro(path)
    file = re.sub(r"[^A-Za-z0-9_.-]", "_", path.stem).lstrip("._-") or name
    descriptor = _descriptor(name, f"{file[:70]}.ijm", macro)
    case = _case(descriptor)
    return {
        "tool.yaml": yaml_text(descriptor),
        descriptor["macro"]: text,
        "cases/works.yaml": yaml_text(case),
        "cases/generators.py": _GENERATORS,
    }


def _ids(macro: Macro) -> dict[str, str]:
    """A name for each thing that is told, as descriptors have them."""
    ids: dict[str, str] = {}
    for item in macro.told:
        found = re.sub(r"[^a-z0-9_]", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", item.name).lower()).strip("_")[:36]
        found = found if found[:1].isalpha() else f"a_{found}"
        while found in RESERVED or found in ids.values():
            found += "_1"
        ids[item.name] = found
    return ids


def _descriptor(name: str, file: str, macro: Macro) -> dict[str, Any]:
    ids = _ids(macro)
    of_kind = {kind: [item for item in macro.told if item.kind == kind] for kind in ("in", "out", "param")}
    fiji = macro.style == "script"
    values = ", ".join(f"{item.name.replace('_', ' ')} {{{ids[item.name]}}}" for item in of_kind["param"])
    placeholder = {"in": "in", "out": "out", "param": "param"}
    return {
        "schema": 1,
        "id": name,
        "name": name.replace("_", " ").capitalize(),
        "version": "0.1.0",
        "tool": {"name": "Fiji", "version": "2.16"} if fiji else {"name": "ImageJ", "version": "1.53"},
        "description": f"Runs the ImageJ macro {file}.",
        "license": "GPL-3.0-or-later" if fiji else "LicenseRef-public-domain",
        "citations": ["10.1038/nmeth.2019" if fiji else "10.1038/nmeth.2089"],
        "inputs": {ids[item.name]: _input(item) for item in of_kind["in"]},
        "outputs": {ids[item.name]: _output(item, ids[item.name]) for item in of_kind["out"]},
        "params": {ids[item.name]: dict(item.more) for item in of_kind["param"]},
        "macro": file,
        "argument_style": macro.style,
        "arguments": {item.name: f"{{{placeholder[item.kind]}.{ids[item.name]}}}" for item in macro.told},
        **({"environment": {"programs": list(FIJI)}} if fiji else {}),
        "resources": {"threads": 1, "mem_mb": 2000, "runtime_min": 10},
        "rembi": {
            "kind": "analysis",
            "title": name.replace("_", " ").capitalize(),
            "prose": f"Images were analysed with the ImageJ macro {file}{f' ({values})' if values else ''}.",
        },
    }


def _input(item: Told) -> dict[str, Any]:
    if item.more.get("directory"):
        return {"type": "directory", "description": f"Folder that the macro calls {item.name}."}
    return {
        "type": "image",
        "description": f"Image that the macro calls {item.name}.",
        "formats": ["ome-tiff", "tiff"],
    }


def _output(item: Told, name: str) -> dict[str, Any]:
    told = f"What the macro calls {item.name}."
    if item.more.get("directory"):
        return {"type": "directory", "description": told, "file": name, "format": "other"}
    suffix = item.more["suffix"]
    return {"type": item.more["type"], "description": told, "file": f"{name}.{suffix}", "format": _FORMATS[suffix]}


def _case(descriptor: Mapping[str, Any]) -> dict[str, Any]:
    required = {name: param for name, param in descriptor["params"].items() if "default" not in param}
    ports = {name: spec["type"] for name, spec in descriptor["inputs"].items()}
    return {
        "description": "The macro writes its outputs. Put numbers here that you know, such as a count.",
        "generator": {"name": "discs", "args": {"ports": ports}},
        **({"params": {name: _any_value(param) for name, param in required.items()}} if required else {}),
        "expect": [{"check": "bytes_of", "args": {"port": port}, "at_least": 1} for port in descriptor["outputs"]],
    }


def _any_value(param: Mapping[str, Any]) -> Any:
    """A value that the parameter takes."""
    if param["type"] in _NUMBERS:
        return max(param.get("min", 1), min(1, param.get("max", 1)))
    return {"boolean": False, "choice": (param.get("choices") or [""])[0]}.get(param["type"], "text")


_GENERATORS = '''\
"""Inputs with a known answer, and the numbers to be found in the outputs."""

from pathlib import Path

import numpy as np
import tifffile


def discs(folder: Path, ports: dict[str, str]) -> dict[str, Path]:
    """25 bright discs of 6 px radius on a plane of 120 x 120 pixels, for each input; a folder holds one such image."""
    y, x = np.mgrid[:120, :120] % 24 - 12
    image = np.where(y**2 + x**2 <= 36, 1000, 100).astype(np.uint16)
    made = {}
    for port, kind in ports.items():
        made[port] = folder / (port if kind == "directory" else f"{port}.ome.tif")
        if kind == "directory":
            made[port].mkdir()
        path = made[port] / "discs.ome.tif" if kind == "directory" else made[port]
        tifffile.imwrite(path, image, ome=True, metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5})
    return made


def bytes_of(outputs: dict[str, Path], inputs: dict[str, Path], port: str) -> float:
    """Size of an output; of a folder, of all files in it."""
    path = outputs[port]
    return float(sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()))
'''
