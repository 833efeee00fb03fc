"""Checking an export: whatever is wrong with it is told, once and clearly."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snakescope.errors import InputError, Problem
from snakescope.record import digest, folder_digest, size
from snakescope.study.verify.check import Verification, verify
from snakescope.study.verify.files import parse_line
from snakescope.study.verify.text import verification_text

END = "2026-01-02T03:04:0{}Z"
STORE = "results/a/deskew/image.ome.zarr"
POINTS = "results/a/detect/points.csv"
TRACKS = "results/s1/track/tracks.csv"
PREVIEW = "results/a/preview/p.png"
HIDDEN = "results/c/detect/points.csv"
RAW = ("raw/a.tif", "raw/b.tif")
WORKFLOW = ("config/config.yaml", "workflow/Snakefile")
LISTS = {
    "raw-images": RAW,
    "deskew": (STORE,),
    "detect": (POINTS,),
    "track": (TRACKS,),
    "workflow-run": (*WORKFLOW, "ro-crate-metadata.json"),
}
# step, unit, outputs, rows, end
JOBS = [
    ("deskew", "a", [STORE], ["a"], END.format(1)),
    ("detect", "a", [POINTS], ["a"], END.format(2)),
    ("preview", "a", [PREVIEW], ["a"], END.format(3)),
    ("track", "s1", [TRACKS], ["a", "b"], END.format(4)),
]
FAILED: tuple[str, str, list[str], list[str], str] = ("detect", "b", [], ["b"], END.format(5))


class Study:
    """A small exported study: a step that is left out, a failed job, a sensitive row and its result."""

    def __init__(self, root: Path) -> None:
        self.root, self.study, self.crate = root, root / "study", root / "study/run-crate"
        self.write("data/a b.tif", "raw a")
        self.write("data/b.tif", "raw b")
        for name in ("zarr.json", "0/zarr.json", "0/c/0/0", "0/c/0/1"):
            self.write(f"{STORE}/{name}", f"bytes of {name}")
        self.write(f"{STORE}/.snakemake_timestamp", "")
        for name in (POINTS, TRACKS, PREVIEW, HIDDEN):
            self.write(name, f"bytes of {name}")
        self.write("config/config.yaml", "pipeline: tiny\n")
        self.write("config/samples.tsv", "id\tpath\tseries\tsensitive\na\tdata/a b.tif\ts1\t\nb\tdata/b.tif\ts1\t\n"
                   "c\tdata/c.tif\ts2\ttrue\n")  # fmt: skip
        steps = {step: {"over": ["series"] if step == "track" else []} for step, *_ in JOBS}
        self.write("rules/tiny/plan.json", json.dumps({"pipeline": "tiny", "steps": steps}))
        for job in JOBS:
            self.record(*job)
        self.record("detect", "c", [HIDDEN], ["c"], END.format(6))
        self.record(*FAILED, failed=True)
        self.export()

    def write(self, path: str, text: str) -> Study:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)
        return self

    def remove(self, path: str) -> Study:
        if (self.root / path).is_dir():
            shutil.rmtree(self.root / path)
        else:
            (self.root / path).unlink()
        return self

    def record(
        self, step: str, unit: str, outputs: list[str], rows: list[str], end: str, *, failed: bool = False
    ) -> Study:
        data = {"schema": 1, "status": "failed" if failed else "done", "step": step, "unit": unit, "samples": rows,
                "ended_at": end, "outputs": [{"port": "o", "path": path} for path in outputs]}  # fmt: skip
        name = f"logs/{unit}/{step}.failed.json" if failed else f"records/{unit}/{step}.json"
        return self.write(name, json.dumps(data))

    def export(self) -> None:
        for name in ("results/a/deskew/image.ome.zarr", POINTS, TRACKS):
            self.link(name, f"../../../../../{name}")
        self.link("raw/a.tif", "../../../data/a b.tif")
        self.link("raw/b.tif", str(self.root / "data/b.tif"))
        for name in WORKFLOW:
            self.write(f"study/run-crate/{name}", f"copy of {name}")
        self.write("study/submission.json", "{}")
        for key, names in LISTS.items():
            lines = ["Files\tsample", *(f"{name}\tx" for name in names)]
            self.write(f"study/file_list_{key}.tsv", "\n".join(lines) + "\n")
        self.write_crate(self.entities())
        self.write_checksums()

    def link(self, name: str, target: str) -> None:
        (self.crate / name).parent.mkdir(parents=True, exist_ok=True)
        (self.crate / name).symlink_to(target)

    def entities(self) -> list[dict[str, Any]]:
        names = [name for names in LISTS.values() for name in names if name != "ro-crate-metadata.json"]
        ids = [f"{name}/" if name == STORE else name for name in names]
        graph: list[dict[str, Any]] = [
            {"@id": "ro-crate-metadata.json", "@type": "CreativeWork", "about": {"@id": "./"}},
            {"@id": "./", "@type": "Dataset", "mainEntity": {"@id": "workflow/Snakefile"},
             "license": {"@id": "https://example.org/licence"}, "hasPart": [{"@id": id_} for id_ in ids]},
        ]  # fmt: skip
        for id_, name in zip(ids, names, strict=True):
            path = self.crate / name
            graph.append({"@id": id_, "@type": "Dataset" if path.is_dir() else "File",
                          "contentSize": str(size(path)), "sha256": digest(path)})  # fmt: skip
        graph.append({"@id": "#run", "@type": "CreateAction", "instrument": {"@id": "workflow/Snakefile"},
                      "endTime": END.format(9)})  # fmt: skip
        for step, unit, _, _, end in [*JOBS, FAILED]:
            failed = (step, unit) == FAILED[:2]
            status = f"http://schema.org/{'Failed' if failed else 'Completed'}ActionStatus"
            graph.append({"@id": f"#job/{step}/{unit}", "@type": "ActivateAction" if failed else "CreateAction",
                          "endTime": end, "instrument": {"@id": "https://example.org/tool"},
                          "object": [{"@id": "raw/a.tif"}], "actionStatus": status,
                          **({"error": "no spots"} if failed else {})})  # fmt: skip
        graph += self.upper_actions()
        return graph

    def upper_actions(self) -> list[dict[str, Any]]:
        jobs: dict[str, list[dict[str, str]]] = {}
        for step, unit, *_ in [*JOBS, FAILED]:
            jobs.setdefault(step, []).append({"@id": f"#job/{step}/{unit}"})
        controls = [{"@id": f"#step/{step}", "@type": "ControlAction", "object": ids} for step, ids in jobs.items()]
        engine = {"@id": "#engine", "@type": "OrganizeAction", "object": [{"@id": item["@id"]} for item in controls]}
        return [*controls, engine]

    def write_crate(self, entities: list[dict[str, Any]]) -> None:
        lines = ",\n".join(json.dumps(entity) for entity in entities)
        (self.crate / "ro-crate-metadata.json").write_text(f'{{\n"@context": "x",\n"@graph": [\n{lines}\n]\n}}\n')

    def plain_files(self) -> list[str]:
        """Every file of the export but the checksums, relative to study/."""
        found = [path.name for path in self.study.iterdir() if path.is_file() and path.name != "checksums.sha256"]
        for name in (name for names in LISTS.values() for name in names):
            path = self.crate / name
            inside = [item for item in path.rglob("*") if item.is_file()] if path.is_dir() else [path]
            found += [item.relative_to(self.study).as_posix() for item in inside if item.name[0] != "."]
        return sorted(found)

    def write_checksums(self) -> None:
        lines = [f"{digest(self.study / name)}  {name}\n" for name in self.plain_files()]
        (self.study / "checksums.sha256").write_text("".join(lines))

    # what tests do to it

    def edit(self, name: str, change: Callable[[str], str], *, rehash: bool = True) -> None:
        """Change a text file of the export, as if the export had been written so."""
        path = self.study / name
        old = digest(path)
        path.write_text(change(path.read_text()))
        if rehash and name != "checksums.sha256":
            self.edit("checksums.sha256", lambda text: text.replace(f"{old}  {name}", f"{digest(path)}  {name}"))

    def lines(self, change: Callable[[str], str]) -> None:
        """Change the checksums."""
        self.edit("checksums.sha256", change)

    def rows(self, key: str, change: Callable[[str], str]) -> None:
        """Change a file list."""
        self.edit(f"file_list_{key}.tsv", change)

    def edit_crate(self, change: Callable[[dict[str, dict[str, Any]]], Any]) -> None:
        """Change entities of the crate, by id."""
        entities = {entity["@id"]: entity for entity in self.entities()}
        change(entities)
        self.edit("run-crate/ro-crate-metadata.json", lambda _: "")
        old = digest(self.crate / "ro-crate-metadata.json")
        self.write_crate(list(entities.values()))
        new = digest(self.crate / "ro-crate-metadata.json")
        self.edit("checksums.sha256", lambda text: text.replace(old, new))

    def verify(self) -> Verification:
        return verify(self.root)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def found(study: Study) -> list[str]:
    return [str(problem) for problem in study.verify().problems]


def only(study: Study) -> str:
    """The one problem there is."""
    problems = found(study)
    assert len(problems) == 1, "\n".join(problems)
    return problems[0]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def without_line(text: str, part: str) -> str:
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if part not in line]
    assert len(kept) == len(lines) - 1
    return "".join(kept)


def twice(text: str, part: str) -> str:
    (line,) = [line for line in text.splitlines(keepends=True) if part in line]
    return text + line


# ---------------------------------------------------------------------- a sound export


def test_an_export_is_sound_and_what_is_left_out_is_counted(study: Study) -> None:
    result = study.verify()
    assert [str(problem) for problem in result.problems] == []
    names = study.plain_files()
    assert (result.files, result.unhashed) == (len(names), 0)
    assert result.bytes == sum((study.study / name).stat().st_size for name in names)
    assert result.notes == [
        "1 result of steps that are not handed in left out",
        "1 result made from sensitive rows left out",
    ]


def test_each_file_is_read_once(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    hash_file = hashlib.file_digest

    def counted(file: Any, name: str) -> Any:
        read.append(os.path.relpath(file.name, study.study))
        return hash_file(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    study.verify()
    assert sorted(read) == study.plain_files()


def test_checksums_may_stand_in_any_order(study: Study) -> None:
    study.edit("checksums.sha256", lambda text: "".join(sorted(text.splitlines(keepends=True))))
    assert found(study) == []


def test_the_crate_may_be_written_in_another_form(study: Study) -> None:
    study.edit("run-crate/ro-crate-metadata.json", lambda text: json.dumps(json.loads(text), indent=4))
    result = study.verify()
    assert ([str(problem) for problem in result.problems], len(result.notes)) == ([], 2)


def test_names_in_the_crate_may_be_quoted(study: Study) -> None:
    def quote(entities: dict[str, dict[str, Any]]) -> None:
        part = {"@id": "%72aw/a.tif"}
        entities["raw/a.tif"] |= part
        entities["./"]["hasPart"][0] = part
        for entity in entities.values():
            if entity["@id"].startswith("#job"):
                entity["object"] = [part]

    study.edit_crate(quote)
    assert found(study) == []


def test_a_copy_of_the_upload_is_checked_as_well_as_links(study: Study) -> None:
    (study.crate / STORE).unlink()
    shutil.copytree(study.root / STORE, study.crate / STORE)
    assert found(study) == []


def test_a_file_without_any_digest_is_counted(study: Study) -> None:
    study.edit_crate(lambda entities: entities["raw/b.tif"].pop("sha256"))
    study.edit("checksums.sha256", lambda text: without_line(text, "raw/b.tif"))
    result = study.verify()
    assert (result.unhashed, result.problems) == (1, [])
    assert result.notes[-1] == "1 file without a recorded digest: only presence and size were checked"


def test_progress_is_told(study: Study) -> None:
    told: list[tuple[str, int, int]] = []
    verify(study.root, progress=lambda *item: told.append(item))
    assert [name for name, done, total in told if done == total and total] == ["checking files", "checking the crate"]


def test_without_an_export_there_is_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"study: there is no export of this study\.\n    Make one with: snakescope"):
        verify(tmp_path)


# ---------------------------------------------------------------------- mutations

ZARR = f"run-crate/{STORE}"
METADATA = "run-crate/ro-crate-metadata.json"
Mutation = Callable[[Study], object]


def act(entities: dict[str, dict[str, Any]], id_: str, **changes: Any) -> None:
    entities[id_] |= changes


FILES: dict[str, tuple[Mutation, str]] = {
    "a byte of a table is flipped": (
        lambda s: flip(s.root / POINTS),
        f"study/run-crate/{POINTS}: its 36 bytes are not those that checksums.sha256",
    ),
    "a byte of a chunk is flipped": (
        lambda s: flip(s.root / STORE / "0/c/0/1"),
        f"study/{ZARR}: 1 file of it is not as checksums.sha256 tells (0/c/0/1).",
    ),
    "a byte of a raw image is flipped": (lambda s: flip(s.root / "data/b.tif"), "raw/b.tif: its 5 bytes are not"),
    "a byte of a copy is flipped": (lambda s: flip(s.crate / "workflow/Snakefile"), "workflow/Snakefile: its 26 bytes"),
    "a byte of the submission is flipped": (
        lambda s: flip(s.study / "submission.json"),
        "submission.json: its 2 bytes",
    ),
    "a table is cut short": (lambda s: os.truncate(s.root / TRACKS, 3), f"{TRACKS}: its 3 bytes are not those"),
    "a chunk is cut short": (lambda s: os.truncate(s.root / STORE / "0/c/0/0", 0), "1 file of it is not as checksums"),
    "a table is gone": (
        lambda s: (s.root / POINTS).unlink(),
        f"{POINTS}: is a link to '../../../../../{POINTS}', which is not there",
    ),
    "a store is gone": (lambda s: shutil.rmtree(s.root / STORE), f"{ZARR}: is a link to '../"),
    "a chunk is gone": (lambda s: (s.root / STORE / "0/c/0/0").unlink(), "1 file of it is not there (0/c/0/0)."),
    "a link is gone": (lambda s: (s.crate / POINTS).unlink(), f"study/run-crate/{POINTS}: is not there"),
    "a link to a store is gone": (lambda s: (s.crate / STORE).unlink(), f"study/{ZARR}: is not there"),
    "a copy is gone": (lambda s: (s.crate / "workflow/Snakefile").unlink(), "workflow/Snakefile: is not there"),
    "the submission is gone": (lambda s: (s.study / "submission.json").unlink(), "submission.json: is not there"),
    "the crate is gone": (lambda s: (s.study / METADATA).unlink(), "ro-crate-metadata.json: is not there"),
    "a file is left in results": (
        lambda s: s.write("results/a/detect/notes.txt", "x"),
        "results/a/detect/notes.txt: does not belong to the export: no job of the study made it",
    ),
    "a file is left above results": (lambda s: s.write("results/x.txt", "x"), "results/x.txt: does not belong"),
    "a folder is left in results": (lambda s: s.write("results/a/old/i.zarr/0", "x"), "results/a/old/i.zarr: does not"),
    "a file is left beside what is left out": (
        lambda s: s.write("results/a/preview/q.png", "x"),
        "results/a/preview/q.png: does not belong",
    ),
    "a file is put into the crate": (
        lambda s: s.write("study/run-crate/raw/c.tif", "x"),
        "raw/c.tif: does not belong to the export: no file list names it",
    ),
    "a link is put into the crate": (lambda s: s.link("results/x", "/"), "run-crate/results/x: does not belong"),
    "a chunk is put into a store": (
        lambda s: s.write(f"{STORE}/0/c/0/2", "x"),
        "1 file of it is not in checksums.sha256 (0/c/0/2)",
    ),
    "a link is put into a store": (
        lambda s: (s.root / STORE / "more").symlink_to("0"),
        "1 file of it is no ordinary file (more)",
    ),
    "a file is put into study": (lambda s: s.write("study/x.txt", "x"), "it is not in checksums.sha256"),
    "a pipe stands for a file": (lambda s: os.mkfifo(s.remove(POINTS).root / POINTS), f"{POINTS}: is no ordinary file"),
    "a folder stands for a file": (
        lambda s: s.remove(POINTS).write(f"{POINTS}/x", ""),
        "is a folder; by checksums.sha256 it is a",
    ),
    "a file stands for a folder": (lambda s: s.remove(STORE).write(STORE, "x"), "is a file; by checksums.sha256 it is"),
}

LINES: dict[str, tuple[Mutation, str]] = {
    "the line of a file is removed": (
        lambda s: s.lines(lambda t: without_line(t, POINTS)),
        f"{POINTS}: is not in checksums",
    ),
    "the line of a chunk is removed": (
        lambda s: s.lines(lambda t: without_line(t, "0/c/0/0")),
        "not in checksums.sha256 (0/c/0/0)",
    ),
    "the line of the submission is removed": (
        lambda s: s.lines(lambda t: without_line(t, "submission")),
        "it is not in checksums.sha256",
    ),
    "the line of a file stands twice": (
        lambda s: s.lines(lambda t: twice(t, POINTS)),
        f"{POINTS}: stands 2 times in checksums",
    ),
    "the line of a chunk stands twice": (
        lambda s: s.lines(lambda t: twice(t, "0/c/0/0")),
        "1 file of it is more than once in checks",
    ),
    "a line is no line": (
        lambda s: s.lines(lambda t: f"so it is\n{t}"),
        "checksums.sha256: line 1: found 'so it is'; exp",
    ),
    "a line has another digest": (
        lambda s: s.lines(lambda t: t.replace(digest(s.root / POINTS), "0" * 64)),
        "are not those",
    ),
    "a line leads elsewhere": (
        lambda s: s.lines(lambda t: t + f"{'0' * 64}  run-crate/../../data/b.tif\n"),
        "line 18: found",
    ),
    "a line names an absolute path": (
        lambda s: s.lines(lambda t: t + f"{'0' * 64}  /etc/passwd\n"),
        "a path below study/",
    ),
    "a line names a hostile path": (
        lambda s: s.lines(lambda t: t + f"\\{'0' * 64}  a\\nb\x1b[31m\n"),
        "study/a\\nb\\x1b[31m: is not there",
    ),
    "the checksums are gone": (
        lambda s: (s.study / "checksums.sha256").unlink(),
        "study/checksums.sha256: is not there",
    ),
    "a file is in two lists": (
        lambda s: s.rows("track", lambda t: t + "raw/a.tif\tx\n"),
        "file_list_track.tsv: line 3: 'raw/a.tif' stands in file_list_raw-images.tsv already",
    ),
    "a file is twice in a list": (
        lambda s: s.rows("track", lambda t: t + f"{TRACKS}\tx\n"),
        f"'{TRACKS}' stands in this list",
    ),
    "a file is in no list": (
        lambda s: s.rows("track", lambda t: without_line(t, TRACKS)),
        f"{TRACKS}: no file list names it",
    ),
    "a store is in no list": (
        lambda s: s.rows("deskew", lambda t: without_line(t, STORE)),
        f"{ZARR}: no file list names it",
    ),
    "a list names what is not there": (
        lambda s: s.rows("track", lambda t: t + "results/s2/track/t.csv\tx\n"),
        "s2/track/t.csv: is not the",
    ),
    "a list names a part of an image": (
        lambda s: s.rows("deskew", lambda t: t + f"{STORE}/zarr.json\n"),
        "lies inside a folder that is",
    ),
    "a list leads elsewhere": (
        lambda s: s.rows("track", lambda t: t + "../../data/b.tif\tx\n"),
        "found '../../data/b.tif'; exp",
    ),
    "a list names an absolute path": (
        lambda s: s.rows("track", lambda t: t + "/etc/passwd\tx\n"),
        "line 3: found '/etc/passwd'; expected",
    ),
    "a list has a hostile name": (
        lambda s: s.rows("track", lambda t: t + "a\x1b[31m\tx\n"),
        "line 3: found 'a\\x1b[31m'; expected",
    ),
    "a list has an empty line": (
        lambda s: s.rows("track", lambda t: t + "\n"),
        "line 3: found an empty cell; expected the path",
    ),
    "a list has another header": (
        lambda s: s.rows("track", lambda t: t.replace("Files", "files")),
        "the first column is 'files'",
    ),
}

CRATES: dict[str, tuple[Mutation, str]] = {
    "an id is not described": (
        lambda s: s.edit_crate(lambda e: act(e, "./", author={"@id": "#nobody"})),
        "ro-crate-metadata.json: './' refers to '#nobody', which is not described",
    ),
    "a nested id is not described": (
        lambda s: s.edit_crate(lambda e: act(e, "#run", x=[{"y": {"@id": "#deep"}}])),
        "'#run' refers to '#deep'",
    ),
    "a local file stands for an address": (
        lambda s: s.edit_crate(lambda e: act(e, "./", x={"@id": "file:///etc/passwd"})),
        "refers to 'file:///etc/passwd'",
    ),
    "an id stands twice": (
        lambda s: s.edit_crate(lambda e: e.update(x={"@id": "#run", "@type": "Thing"})),
        "two entities have the id '#run'",
    ),
    "an entity has no id": (lambda s: s.edit_crate(lambda e: e.update(x={"@type": "Thing"})), "an entity has no id"),
    "a digest of a file is wrong": (
        lambda s: s.edit_crate(lambda e: act(e, POINTS, sha256="0" * 64)),
        f"'{POINTS}' has another sha256 than by",
    ),
    "a digest of a store is wrong": (
        lambda s: s.edit_crate(lambda e: act(e, f"{STORE}/", sha256="0" * 64)),
        f"'{STORE}/' has another sha256 than",
    ),
    "a size of a file is wrong": (
        lambda s: s.edit_crate(lambda e: act(e, POINTS, contentSize="7")),
        "is said to have 7 bytes; it has 36",
    ),
    "a size of a store is wrong": (
        lambda s: s.edit_crate(lambda e: act(e, f"{STORE}/", contentSize=7)),
        "is said to have 7 bytes; it has 70",
    ),
    "a file is described that is not there": (
        lambda s: s.edit_crate(lambda e: e.update(x={"@id": "raw/z.tif", "@type": "File"})),
        "'raw/z.tif' is not there",
    ),
    "a file is described that is elsewhere": (
        lambda s: s.edit_crate(lambda e: e.update(x={"@id": "../../data/b.tif", "@type": "File"})),
        "is no path below",
    ),
    "a folder is described as a file": (
        lambda s: s.edit_crate(lambda e: act(e, f"{STORE}/", **{"@type": "File"})),
        "is described as a file; it is a",
    ),
    "a file is no part": (
        lambda s: s.edit_crate(lambda e: e["./"]["hasPart"].pop(0)),
        "'raw/a.tif' is not among the parts (hasPart)",
    ),
    "a file is part twice": (
        lambda s: s.edit_crate(lambda e: e["./"]["hasPart"].append({"@id": "raw/a.tif"})),
        "raw/a.tif' twice; expected",
    ),
    "the crate describes no root": (
        lambda s: s.edit_crate(lambda e: act(e, "./", **{"@id": "https://example.org/x"})),
        "there is no entity './'",
    ),
    "no engine ran the steps": (
        lambda s: s.edit_crate(lambda e: e.pop("#engine")),
        "no OrganizeAction says which engine ran the steps",
    ),
    "a step belongs to no engine": (
        lambda s: s.edit_crate(lambda e: e["#engine"]["object"].pop(0)),
        "belongs to no run of the engine",
    ),
    "a job belongs to no step": (
        lambda s: s.edit_crate(lambda e: e[f"#step/{FAILED[0]}"]["object"].pop()),
        "belongs to no step (ControlAction)",
    ),
    "a failed job does not say why": (
        lambda s: s.edit_crate(lambda e: e[f"#job/{FAILED[0]}/{FAILED[1]}"].pop("error")),
        "has failed and does not say why",
    ),
    "the crate is no JSON": (lambda s: s.edit(METADATA, lambda t: t[:-40]), "is no run crate (Unterminated"),
    "the crate has no graph": (lambda s: s.edit(METADATA, lambda t: "{}"), "is no run crate (it has no list '@graph')"),
    "a job was run since": (
        lambda s: s.record("detect", "b", ["results/b/detect/points.csv"], ["b"], END.format(7)).write(
            "results/b/detect/points.csv", "x"
        ),
        "the study has changed since it was exported: 1 job ended or failed since, records of 1 job in",
    ),
    "a job was run again": (
        lambda s: s.record(*JOBS[1][:4], END.format(8)),
        "1 job ended or failed since, records of 1 job in it",
    ),
    "a record is gone": (
        lambda s: (s.root / "records/s1/track.json").unlink(),
        "records of 1 job in it are gone or were replaced.\n",
    ),
    "a record cannot be read": (
        lambda s: s.write("records/a/broken.json", "{"),
        "records/a/broken.json: not a record of a job",
    ),
}


ALL = {**FILES, **LINES, **CRATES}


@pytest.mark.parametrize("name", ALL)
def test_what_is_wrong_is_told_once(study: Study, name: str) -> None:
    mutate, expected = ALL[name]
    mutate(study)
    assert expected in only(study)


def test_all_that_is_wrong_is_told_at_once(study: Study) -> None:
    for name in ("a byte of a table is flipped", "a chunk is gone", "a file is in two lists", "a job was run again"):
        ALL[name][0](study)
    study.write("results/x.txt", "x")
    assert len(found(study)) == 5


def test_a_name_from_outside_is_never_opened(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    open_ = Path.open

    def noted(path: Path, *arguments: Any, **named: Any) -> Any:
        opened.append(str(path))
        return open_(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", noted)
    for name in ("a line leads elsewhere", "a line names an absolute path", "a list leads elsewhere",
                 "a list names an absolute path"):  # fmt: skip
        LINES[name][0](study)
    CRATES["a file is described that is elsewhere"][0](study)
    opened.clear()
    assert len(found(study)) == 5
    assert "/etc/passwd" not in opened
    assert {Path(name).is_relative_to(study.root) and ".." not in name for name in opened} == {True}


def test_a_study_without_configuration_is_compared_all_the_same(study: Study) -> None:
    (study.root / "config/config.yaml").unlink()
    assert "1 job ended or failed since" in only(study)


def test_records_of_rows_that_are_gone_are_counted(study: Study) -> None:
    study.record("detect", "z", [], ["z"], END.format(7))
    result = study.verify()
    assert result.sound
    assert result.notes[-1] == "1 record of no row or step of the study, which the export does not hold"


# ---------------------------------------------------------------------- parts


def test_the_digest_of_a_folder_is_that_of_a_record(study: Study) -> None:
    store = study.root / STORE
    files = {path.relative_to(store).as_posix(): digest(path) for path in store.rglob("*")
             if path.is_file() and path.name[0] != "."}  # fmt: skip
    assert folder_digest(files) == digest(store)


def test_odd_names_in_a_store_are_no_change(study: Study) -> None:
    (study.root / STORE / "a\\b").write_text("odd")
    (study.root / STORE / "a!b").write_text("between")
    study.write_crate(study.entities())
    study.write_checksums()
    assert found(study) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{'a' * 64}  x/y z", ("x/y z", "a" * 64)),
        (f"{'a' * 64} *x", ("x", "a" * 64)),
        (f"\\{'a' * 64}  x\\\\y\\nz", ("x\\y\nz", "a" * 64)),
        (f"{'A' * 64}  x", None),
        (f"{'a' * 63}  x", None),
        (f"{'a' * 64}  ./x", None),
        (f"{'a' * 64}  x//y", None),
        (f"{'a' * 64}  ", None),
        ("", None),
    ],
)
def test_lines_are_read_as_sha256sum_writes_them(text: str, line: tuple[str, str] | None) -> None:
    assert parse_line(text) == line


def test_people_read_counts_and_the_first_problems() -> None:
    problems = [Problem(f"study/{index}", "is not there", "Bring it back.") for index in range(25)]
    lines = verification_text(Verification(1234, 5_600_000, 2, problems, ["2 files without a digest"])).splitlines()
    assert lines[:2] == [
        "The export is not sound: 25 problems; 1,234 files read (5.6 MB).", "2 files without a digest.",
    ]  # fmt: skip
    assert lines[2:4] == ["  study/0: is not there.", "      Bring it back."]
    assert (len(lines), lines[-1]) == (2 + 2 * 20 + 1, "  ... and 5 more")
    assert verification_text(Verification(1, 999, 0, [], [])) == (
        "The export is sound: 1 file read (999 bytes), all as exported."
    )


# ---------------------------------------------------------------------------- images that lie in iRODS only

RAW_KEY = "raw-images"
AWAY = {"@id": "#raw-b.tif", "@type": "File", "name": "raw/b.tif", "contentUrl": "irods:///z/b.tif",
        "contentSize": "5", "sha256": hashlib.sha256(b"raw b").hexdigest()}  # fmt: skip


@pytest.fixture
def away(study: Study) -> Study:
    """The same with one raw image in iRODS: told of in its list and in the crate, and not here."""
    cells = f"irods:///z/b.tif\tx\t{AWAY['contentSize']}\t{AWAY['sha256']}"
    header = "Files\tirods_address\tsample\tbytes\tsha256"
    study.rows(RAW_KEY, lambda _: f"{header}\nraw/a.tif\t\tx\t\t\nraw/b.tif\t{cells}\n")
    study.lines(lambda text: "".join(line for line in text.splitlines(True) if not line.endswith("raw/b.tif\n")))
    away_crate(study)
    (study.crate / "raw/b.tif").unlink()
    return study


def away_crate(study: Study, **changes: str | None) -> None:
    """Write the crate with the image as it is told of, some of it changed or (None) left out."""
    told = {key: text for key, text in {**AWAY, **changes}.items() if text is not None}

    def change(entities: dict[str, dict[str, Any]]) -> None:
        entities.pop("raw/b.tif", None)
        entities["./"]["hasPart"] = [part for part in entities["./"]["hasPart"] if part["@id"] != "raw/b.tif"]
        if told.get("@id"):
            entities[str(told["@id"])] = told

    if not (study.crate / "raw/b.tif").is_symlink():  # which the entities before the change tell of
        study.link("raw/b.tif", str(study.root / "data/b.tif"))
    study.edit_crate(change)


def test_an_image_in_irods_is_counted_and_not_missing(away: Study) -> None:
    result = away.verify()
    assert (result.problems, result.elsewhere) == ([], 1)
    assert "1 raw image in iRODS and not here: only what is told was checked" in " ".join(result.notes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sha256": "0" * 64}, "'#raw-b.tif' has another sha256 than its file list says"),
        ({"sha256": None}, "'#raw-b.tif' has another sha256 than its file list says"),
        ({"contentSize": "6"}, "'#raw-b.tif' has another contentSize than its file list says"),
        ({"contentUrl": "irods:///z/c.tif"}, "'#raw-b.tif' has another contentUrl than its file list says"),
        ({"@id": None}, "nothing tells of the image 'raw/b.tif' in iRODS"),
    ],
)
def test_the_crate_says_of_an_image_in_irods_what_its_list_says(
    away: Study, changes: dict[str, str | None], told: str
) -> None:
    away_crate(away, **changes)
    (away.crate / "raw/b.tif").unlink()
    assert told in only(away)


def test_an_image_in_irods_that_no_list_names_is_told(away: Study) -> None:
    away.rows(RAW_KEY, lambda text: "".join(line for line in text.splitlines(True) if not line.startswith("raw/b")))
    assert "'#raw-b.tif' tells of an image in iRODS that no file list names so" in only(away)


def test_what_people_have_written_since_the_export_is_told(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.write("config/study.yaml", "license: CC0\n")
    names = ("config/study.yaml", "config/samples.tsv")
    rows = [f"{name}\tfile\tsha256:{digest(tmp_path / name)}\n" for name in names]
    study.write("study/origins.tsv", "field\tsource\tdetail\ntitle\tstudy.yaml\tconfig/study.yaml\n" + "".join(rows))
    study.write_checksums()
    assert verify(tmp_path).problems == []
    study.write("config/study.yaml", "license: CC BY 4.0\n").remove("config/samples.tsv")
    told = [str(problem) for problem in verify(tmp_path).problems if problem.where in names]
    assert told == [f"{name}: has changed since the study was exported.\n    Run: snakescope export" for name in names]
