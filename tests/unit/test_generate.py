"""Generated files: what is checked in is what the sources say, and the schemas take what is shipped."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from snakescope.generate import COMMAND, SCHEMAS, generated_files, main, tools_page
from snakescope.tool.library import read_tool

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = {
    "config/tool.schema.json": sorted(ROOT.glob("tools/*/tool.yaml")),
    "config/case.schema.json": sorted(ROOT.glob("tools/*/cases/*.yaml")),
    "config/pipeline.schema.json": sorted(ROOT.glob("config/pipelines/*.yaml")),
    "config/config.schema.json": [ROOT / "config/config.yaml"],
}


def test_generated_files_are_up_to_date(request: pytest.FixtureRequest) -> None:
    """With ``--fix`` they are rewritten instead."""
    if request.config.getoption("--fix", default=False):
        main([])
        return
    stale: list[str] = []
    for path, text in generated_files(ROOT).items():
        old = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).is_file() else ""
        stale += difflib.unified_diff(old.splitlines(), text.splitlines(), path, "made now", lineterm="")
    assert not stale, "\n".join([f"run: {COMMAND}", *stale])


def test_rules_hold_nothing_that_no_pipeline_makes() -> None:
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "rules").rglob("*") if path.is_file()}
    assert found == {path for path in generated_files(ROOT) if path.startswith("rules/")}


def test_generated_files_are_the_same_each_time_and_name_no_machine() -> None:
    texts = generated_files(ROOT)
    assert texts == generated_files(ROOT)
    for path, text in texts.items():
        assert str(ROOT) not in text, path
        assert str(Path.home()) + "/" not in text, path
        assert text.endswith("\n"), path


def schema(path: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ROOT / path).read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("path", SCHEMAS)
def test_schema_is_a_schema_that_says_how_it_is_made(path: str) -> None:
    found = schema(path)
    jsonschema.Draft202012Validator.check_schema(found)
    assert COMMAND in found["$comment"]


@pytest.mark.parametrize(
    ("path", "file"),
    [(path, file) for path, files in SHIPPED.items() for file in files],
    ids=lambda value: str(value).removeprefix(f"{ROOT}/"),
)
def test_schema_takes_what_is_shipped(path: str, file: Path) -> None:
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    problems = jsonschema.Draft202012Validator(schema(path)).iter_errors(data)
    assert [f"{'.'.join(map(str, item.absolute_path))}: {item.message}" for item in problems] == []


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("config/tool.schema.json", {"licence": "MIT"}),
        ("config/tool.schema.json", {"schema": 2}),
        ("config/case.schema.json", {"expect": []}),
        ("config/pipeline.schema.json", {"steps": {}}),
        ("config/config.schema.json", {"pipelin": "x"}),
    ],
)
def test_schema_refuses_what_the_models_refuse(path: str, change: dict[str, Any]) -> None:
    sound = yaml.safe_load(SHIPPED[path][0].read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema(path))
    assert validator.is_valid(sound)
    assert not validator.is_valid(sound | change)


@pytest.mark.parametrize("path", SCHEMAS)
def test_every_field_of_a_schema_is_described(path: str) -> None:
    whole = schema(path)
    models = {"": whole, **whole.get("$defs", {})}
    fields = {f"{name}.{key}": f for name, model in models.items() for key, f in model.get("properties", {}).items()}
    # a field told in the same words as its model only points there
    inherited = {key: models.get(field.get("$ref", "/").rpartition("/")[2], {}) for key, field in fields.items()}
    assert [key for key, field in fields.items() if not (field | inherited[key]).get("description")] == []


def test_tools_page_tells_units_choices_and_escapes_bars() -> None:
    tool = read_tool(ROOT / "tools/deconvolve")
    page = tools_page([tool])
    assert "| `edges` | `padded` |  |" in page
    assert "One of: padded, periodic." in page
    assert "| `psf_z_um` | not set | um |" in page
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == len(tool.spec.inputs) + len(tool.spec.outputs) + len(tool.spec.params)
    barred = tool.spec.model_copy(update={"description": "a | b"})
    assert "a \\| b" in tools_page([type(tool)(barred, tool.folder, tool.sha256)])


def test_check_tells_what_is_stale_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    (tmp_path / "config/pipelines").mkdir(parents=True)
    monkeypatch.setattr("snakescope.layout.assets", lambda: tmp_path)
    assert main(["--check"]) == 1
    assert not (tmp_path / "docs").exists()
    definitions = len([path for path in (ROOT / "envs").glob("*.def") if path.with_suffix(".yaml").is_file()])
    assert f"{len(SCHEMAS) + 1 + definitions} generated files are stale. Run: {COMMAND}" in capsys.readouterr().err
    assert main([]) == 0
    assert (tmp_path / "docs/tools.md").read_text() == (ROOT / "docs/tools.md").read_text()
    (tmp_path / "rules/gone").mkdir(parents=True)
    (tmp_path / "rules/gone/old.smk").write_text("")
    assert main(["--check"]) == 1
    assert "rules/gone/old.smk: no pipeline makes it any more" in capsys.readouterr().out
    assert main([]) == 0
    assert main(["--check"]) == 0
    assert not (tmp_path / "rules/gone/old.smk").exists()
