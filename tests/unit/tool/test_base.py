"""Reading YAML into models: every fault is one problem with its file and key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from snakescope.errors import InputError
from snakescope.tool.base import FaultsError, Model, known_fields, near_miss, parse, read_yaml, short


class Inner(Model):
    """Part of the model below."""

    size: int | float = 1
    """A size."""
    word: str = ""
    """A word."""


class Outer(Model):
    """Model for these tests."""

    kind: Literal["a", "b"]
    """Kind."""
    source: str | Inner = ""
    """Text or a mapping."""
    names: str | list[str] = []
    """One name or several."""
    inner: dict[str, Inner] = {}
    """Mappings by name."""


def read(tmp_path: Path, text: str | bytes) -> dict[str, Any]:
    path = tmp_path / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path)


def refused(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    return str(caught.value).replace(f"{tmp_path}/", "")


def problems(data: dict[str, Any]) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse(Outer, data, "file.yaml")
    return [str(found) for found in caught.value.problems]


def test_yaml_gives_plain_values(tmp_path: Path) -> None:
    text = "a: 1\nb: {c: [x, 2.5, true, null]}\nµ: ä€😀\nbase: &b {k: 1}\nmore: {<<: *b, l: 2}\n"
    assert read(tmp_path, text) == {
        "a": 1,
        "b": {"c": ["x", 2.5, True, None]},
        "µ": "ä€😀",
        "base": {"k": 1},
        "more": {"k": 1, "l": 2},
    }


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbfa: 1\n") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: 1\nb: 2\na: 3\n", "file.yaml:3:1: not valid YAML: the key 'a' stands twice."),
        (b"a:\n  b: 1\n  b: 1\n", "file.yaml:3:3: not valid YAML: the key 'b' stands twice."),
        (b"a: {b: 1, c: 2, b: 3}\n", "file.yaml:1:17: not valid YAML: the key 'b' stands twice."),
        (
            b"a:\n  b: 24:00:00\n",
            "file.yaml:2:6: not valid YAML: 24:00:00 would be the number 86400; write that, or text in quotes.",
        ),
        (
            b"a: 1:30.5\n",
            "file.yaml:1:4: not valid YAML: 1:30.5 would be the number 90.5; write that, or text in quotes.",
        ),
        (b"- {a: 1, a: 2}\n", "file.yaml:1:10: not valid YAML: the key 'a' stands twice."),
        (b"a: [1\nb: 2\n", "file.yaml:2:2: not valid YAML: did not find expected ',' or ']'."),
        (b"a: b: c\n", "file.yaml:1:5: not valid YAML: mapping values are not allowed in this context."),
        (b"\ta: 1\n", "file.yaml:1:1: not valid YAML: found character that cannot start any token."),
        (b"? [a]\n: 1\n", "file.yaml:1:3: not valid YAML: found a list or a mapping as a key."),
        (b"a: {{x}}\n", "file.yaml:1:5: not valid YAML: found a list or a mapping as a key."),
        (b"a: 2024-13-45\n", "file.yaml:1:4: not valid YAML: '2024-13-45' is no day or time (month must be in 1..12)."),
        (b"a: !!int x\n", "file.yaml: not valid YAML: invalid literal for int() with base 10: 'x'."),
        (b"a: " + b"9" * 5000 + b"\n", "file.yaml: not valid YAML: Exceeds the limit (4300 digits)"),
        (b"a: !!python/object/apply:os.system [ls]\n", "file.yaml:1:4: not valid YAML: could not determine a constr"),
        (b"a: *nobody\n", "file.yaml:1:4: not valid YAML: found undefined alias."),
        (b"a: &x {b: *x}\n", "file.yaml:1:4: not valid YAML: found unconstructable recursive node."),
        (b"a: 1\n---\nb: 2\n", "file.yaml:2:1: not valid YAML: but found another document."),
        (b"a: \x00\n", "file.yaml: not valid YAML: unacceptable character #x0000: control characters are not allowed."),
        (b"a: \xff\n", "file.yaml: cannot be read ('utf-8' codec can't decode byte 0xff in position 3"),
        ("a: ä\n".encode("latin-1"), "file.yaml: cannot be read ('utf-8' codec can't decode byte 0xe4 in position 3"),
        ("a: 1\n".encode("utf-16"), "file.yaml: cannot be read ('utf-8' codec can't decode byte 0xff in position 0"),
        (b"", "file.yaml: found nothing; expected `key: value` lines."),
        (b"# nothing yet\n", "file.yaml: found nothing; expected `key: value` lines."),
        (b"- a\n", "file.yaml: found list; expected `key: value` lines."),
        (b"just words\n", "file.yaml: found str; expected `key: value` lines."),
    ],
)
def test_a_file_that_is_no_sound_mapping_is_refused_with_its_place(tmp_path: Path, text: bytes, message: str) -> None:
    found = refused(tmp_path, text)
    assert found.startswith(message)
    assert len(found.splitlines()) == 1


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: no such file\.$"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(InputError, match=r"cannot be read \(.*Is a directory"):
        read_yaml(tmp_path)


def test_very_deep_nesting_is_refused_and_does_not_crash_python(tmp_path: Path) -> None:
    path = tmp_path / "deep.yaml"
    path.write_bytes(b"a: " + b"[" * 200_000)
    code = (
        "import sys; from pathlib import Path; from snakescope.tool.base import read_yaml; read_yaml(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "deep.yaml:1:53: not valid YAML: nested more than 50 deep." in done.stderr


def test_every_wrong_key_is_one_problem_in_the_order_of_the_model() -> None:
    assert problems({"kind": "c", "names": [1, "x", None], "inner": {"p": {"size": "3"}, "q": 5}, "sorce": 1}) == [
        "file.yaml: kind: found 'c'; expected 'a' or 'b'.",
        "file.yaml: names.0: found 1; expected text.",
        "file.yaml: names.2: found None; expected text.",
        "file.yaml: inner.p.size: found '3'; expected a number.",
        "file.yaml: inner.q: found 5; expected `key: value` lines.",
        "file.yaml: sorce: unknown key.\n    Did you mean 'source'?",
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "source: found 5; expected text or `key: value` lines."),
        (None, "source: found None; expected text or `key: value` lines."),
        ({"size": []}, "source.size: found []; expected a number."),
        ({"sise": 1}, "source.sise: unknown key.\n    Did you mean 'size'?"),
        ({"zzzzzz": 1}, "source.zzzzzz: unknown key.\n    Known keys: size, word."),
    ],
)
def test_a_value_that_may_be_of_several_kinds_gives_one_problem(value: Any, message: str) -> None:
    assert problems({"kind": "a", "source": value}) == [f"file.yaml: {message}"]


def test_a_key_that_is_no_text_is_named() -> None:
    assert problems({"kind": "a", "inner": {1: {}}}) == ["file.yaml: inner.1: found 1; expected text."]


def test_a_missing_key_is_named() -> None:
    assert problems({}) == ["file.yaml: kind: is missing."]


@pytest.mark.parametrize(("value", "kind"), [("1", "'1'"), (True, "True")])
def test_numbers_are_not_read_out_of_texts_and_booleans(value: Any, kind: str) -> None:
    assert problems({"kind": "a", "inner": {"p": {"size": value}}}) == [
        f"file.yaml: inner.p.size: found {kind}; expected a number."
    ]


def test_long_and_nested_values_are_cut_in_messages() -> None:
    bomb: list[Any] = ["x" * 40]
    for _ in range(30):
        bomb = [bomb] * 10
    (found,) = problems({"kind": bomb})
    assert len(found) < 140
    assert short("x" * 100) == "'" + "x" * 56 + "..."


def test_several_faults_of_a_validator_become_several_problems() -> None:
    error = FaultsError([("a.b", "is odd", None), ("", "does not hang together", "Mend it.")])
    assert str(error) == "a.b: is odd; does not hang together"


def test_known_fields_are_those_of_the_model_at_a_place() -> None:
    assert known_fields(Outer, ()) == ["kind", "source", "names", "inner"]
    assert known_fields(Outer, ("inner", "p")) == ["size", "word"]
    assert known_fields(Outer, ("kind", "p")) == []


@pytest.mark.parametrize(
    ("word", "hint"),
    [("imgae", "Did you mean 'image'?"), ("Image", "Did you mean 'image'?"), ("qqq", None), ("", None)],
)
def test_a_near_miss_is_suggested_and_a_far_one_is_not(word: str, hint: str | None) -> None:
    assert near_miss(word, ["image", "points", "table"]) == hint


def test_models_do_not_change_after_they_are_read() -> None:
    model = parse(Outer, {"kind": "a"}, "file.yaml")
    with pytest.raises(ValueError, match="frozen"):
        model.kind = "b"  # type: ignore[misc]
