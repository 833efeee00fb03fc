"""What people may write into ``config/study.yaml``, and what they are told when it cannot be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from snakescope import layout
from snakescope.errors import InputError
from snakescope.runner.demo import STUDY
from snakescope.study.gather import read_spec
from snakescope.study.spec import StudySpec, unknown_steps

AUTHOR = {
    "first_name": "Ada",
    "last_name": "Byron",
    "email": "ada@example.org",
    "orcid": "0000-0002-1825-0097",
    "affiliation": {"name": "EBI", "ror": "https://ror.org/02catss52"},
}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / layout.STUDY_YAML
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return tmp_path


def problems(tmp_path: Path, data: Mapping[str, object]) -> list[str]:
    """Messages without the name of the file."""
    root = write(tmp_path, yaml.safe_dump({"schema": 1, **data}))
    with pytest.raises(InputError) as caught:
        read_spec(root)
    return [str(item).removeprefix(f"{root / layout.STUDY_YAML}: ") for item in caught.value.problems]


def test_all_that_is_wrong_is_told_at_once_a_message_each(tmp_path: Path) -> None:
    wrong = {
        "licence": "CC0",
        "license": "WTFPL",
        "release_date": "31.01.2027",
        "authors": [
            {
                **AUTHOR,
                "email": "ada at example.org",
                "orcid": "0000-0002-1825-0098",
                "affiliation": {"name": "EBI", "ror": "https://ror.org/02catss53"},
            }
        ],
        "publications": [{"title": "A paper", "doi": "not-a-doi"}],
        "biosamples": [{"organizm": "human"}],
    }
    told = problems(tmp_path, wrong)
    places = [text.split(":")[0] for text in told]
    assert sorted(places) == sorted(
        [
            "licence",
            "license",
            "release_date",
            "authors.0.email",
            "authors.0.orcid",
            "authors.0.affiliation.ror",
            "publications.0.doi",
            "biosamples.0.organizm",
        ]
    )
    by_place = dict(zip(places, told, strict=True))
    assert "Did you mean 'license'?" in by_place["licence"]
    assert "CC0 and CC BY 4.0" in by_place["license"]
    assert "YYYY-MM-DD" in by_place["release_date"]
    assert "last digit" in by_place["authors.0.orcid"]
    assert "Did you mean 'organism'?" in by_place["biosamples.0.organizm"]


@pytest.mark.parametrize("key", ["title", "keywords", "authors", "biosamples", "release_date"])
def test_a_key_that_stands_there_empty_is_told(tmp_path: Path, key: str) -> None:
    root = write(tmp_path, f"schema: 1\n{key}:\n")
    if key in ("title", "release_date"):  # nothing said is nothing known
        assert getattr(read_spec(root), key) is None
        return
    with pytest.raises(InputError, match=f"{key}: found None; expected a list"):
        read_spec(root)


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="snakescope init"):
        read_spec(tmp_path)


def test_texts_become_one_line(tmp_path: Path) -> None:
    root = write(tmp_path, "schema: 1\ntitle: |\n  Two\n  lines\tand a tab\n")
    assert read_spec(root).title == "Two lines and a tab"


def test_a_date_may_be_written_with_or_without_quotes(tmp_path: Path) -> None:
    found = {
        read_spec(write(tmp_path, f"schema: 1\nrelease_date: {text}\n")).release_date
        for text in ("2027-01-31", "'2027-01-31'")
    }
    assert len(found) == 1


def shipped() -> str:
    return (layout.assets() / layout.STUDY_YAML).read_text(encoding="utf-8")


def test_the_shipped_file_says_nothing_yet(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path, shipped()))
    assert spec.model_dump(exclude_defaults=True) == {"schema_": 1}


def test_the_shipped_file_without_its_marks_is_a_valid_example_of_every_key(tmp_path: Path) -> None:
    lines = shipped().splitlines()
    start = lines.index("schema: 1")
    text = "\n".join(re.sub(r"^# ?", "", line) for line in lines[start:])
    spec = read_spec(write(tmp_path, text))
    left = {name for name, value in spec if not value} - {"correlations", "datasets", "voxels_of_1_um"}
    assert not left, "keys that the example does not show"


def test_the_demo_leaves_nothing_out(tmp_path: Path) -> None:
    assert read_spec(write(tmp_path, STUDY)).authors[0].orcid == "0000-0002-1825-0097"


def test_steps_that_the_pipeline_does_not_have_are_told() -> None:
    named = {"leave_out": ["deskew", "deskw"], "datasets": {"raw-images": {"name": "x"}, "track": {}, "foo": {}}}
    found = unknown_steps(StudySpec.model_validate({"schema": 1, **named}), ("deskew", "track"))
    assert list(map(str, found)) == [
        "config/study.yaml: leave_out: there is no step 'deskw'.\n    Did you mean 'deskew'?",
        "config/study.yaml: datasets: there is no step 'foo'.\n    There are: deskew, track.",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: ''", "title: found ''; expected text."),
        ('title: "red \\e[31m"', "title: holds the control character '\\x1b', which no archive takes; remove it."),
        (
            "release_date: 2027-02-30",
            "2:15: not valid YAML: '2027-02-30' is no day or time (day is out of range for month).",
        ),
        (
            "links: [{url: 'ftp://a.b/c'}]",
            "links.0.url: found 'ftp://a.b/c'; expected an address that begins with http://",
        ),
    ],
)
def test_texts_days_and_addresses_that_are_none_are_refused_where_they_stand(
    tmp_path: Path, text: str, message: str
) -> None:
    root = write(tmp_path, f"schema: 1\n{text}\n")
    with pytest.raises(InputError) as caught:
        read_spec(root)
    assert f"{layout.STUDY_YAML}:{'' if message[0] == '2' else ' '}{message}" in str(caught.value)
