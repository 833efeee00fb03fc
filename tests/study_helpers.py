"""A small study made in code, and the files and jobs that its views are shown; for tests of what they write."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from snakescope.record import FileFacts, JobRecord
from snakescope.study.entries import Entry
from snakescope.study.identifiers import CC_BY, TermId
from snakescope.study.inventory import DatasetSurvey, Inventory, Job, StepSurvey, StudyFile, Used
from snakescope.study.model import (
    RAW,
    RUN,
    Acquisition,
    Association,
    Author,
    Biosample,
    Correlation,
    Dataset,
    Grant,
    ImagingMethod,
    Link,
    Organisation,
    Organism,
    Publication,
    Specimen,
    Study,
)
from snakescope.workflow import Plan

HOSTILE = (
    'She said "stop", it\'s $(rm -rf ~) and {braces} ${HOME} `id`',
    "# a hash first",
    "key: value",
    "- a dash first",
    "% a percent first",
    "null",
    "yes",
    "No",
    "~",
    "1e3",
    "0x1F",
    "1_000",
    "2027-01-31",
    "12:30:45",
    "!tag &anchor *alias | > @ ,",
    "[list] {map}",
    "ends with a colon:",
    "back\\slash \\n and \\t",
    "µm × 10⁻³ – café 細胞 🧬 e\u0301",
    "no\u00a0break, zero\u200bwidth, \ufeff mark",
    "'single'",
    "two  blanks",
    "=SUM(A1)",
    "??? --- ...",
)
# Longer than a line of YAML, with every sign at which a line could break wrongly.
LONG = " ".join(f"{word} # not: a comment - of {{{index}}}" for index, word in enumerate(HOSTILE[3:19]))

HOME = Organisation("European Bioinformatics Institute", "https://ror.org/02catss52")
ELSEWHERE = Organisation("Hospital: Dept. #3", None, "1 High Street, Newcastle, NE1")
UNITS = ("cell1_ch0", "cell1_ch1", "cell2_ch0")
SAMPLE_OF = {"cell1_ch0": 0, "cell1_ch1": 0, "cell2_ch0": 1}
DRUGS = ("DMSO", "nocodazole; 5 µM", "DMSO")


def make_entry(title: str, overview: str, annotation_type: str | None = None) -> Entry:
    """How a tool's work reads."""
    return Entry(
        kind="annotation" if annotation_type else "analysis",
        annotation_type=annotation_type,
        title=title,
        overview=overview,
        tool=title.lower(),
        wrapper_version="1.0.0",
        program="prog",
        tool_version="2.1",
        citations=("10.1000/example",),
        parameters=(("iterations", 20, None),),
    )


def make_associations(units: Iterable[str] = UNITS) -> tuple[Association, ...]:
    """What images of these units belong to."""
    return tuple(sorted({Association(*titles_of(unit)) for unit in units}))


def titles_of(unit: str) -> tuple[str, str, str]:
    """Biosample, specimen and acquisition of a unit."""
    number = SAMPLE_OF[unit] + 1
    return f"Cell line {number}", "Live mounting", f"Acquisition {number}"


def make_study(**changes: Any) -> Study:
    """A complete study: two biosamples and acquisitions, one step that makes images and one that annotates."""
    deconvolved = make_entry("Deconvolution", "Images were deconvolved with 20 iterations, with prog 2.1.")
    tracked = make_entry("Tracking", "Spots were linked over at most 1.5 µm, with prog 2.1.", "tracks")
    rows = make_associations()
    analyst = Author("Josiah", "Carberry", "j.carberry@example.org", "0000-0002-1825-0097", "data analyst", HOME)
    study = Study(
        name="vesicle-study",
        title="Vesicle trafficking in HeLa cells, raw and deconvolved",
        description="Lattice light-sheet time series of vesicles, deconvolved stacks and tracks.",
        keywords=("deconvolution", "tracking"),
        licence=CC_BY,
        release_date=datetime.date(2027, 1, 31),
        authors=(
            analyst,
            Author("Ada", "Byron", "ada@example.org", None, None, dataclasses.replace(HOME, name="EBI")),
            Author("Elsa", "Ek", "elsa@example.org", None, "first author", ELSEWHERE),
        ),
        analyst=analyst,
        biosamples=tuple(
            Biosample(
                f"Cell line {number}",
                Organism("Homo sapiens", "human", TermId("NCBITaxon", "9606")),
                f"HeLa cells, clone {number}",
                "Cells with a vesicle marker",
                ("drug", "time"),
                ("nocodazole",),
                (),
            )
            for number in (1, 2)
        ),
        specimens=(Specimen("Live mounting", "Stained and mounted live.", "Grown on coverslips at 37 °C."),),
        acquisitions=tuple(
            Acquisition(
                f"Acquisition {number}",
                f"Lattice light-sheet microscope {number}",
                ImagingMethod("SPIM", TermId("FBbi", "00000369")),
                "100 planes every 2 s, 488 nm",
            )
            for number in (1, 2)
        ),
        datasets=(
            Dataset(RAW, "images", "Raw images", "Images as acquired.", None, rows, 3),
            Dataset("deconvolve", "images", "Deconvolved images", deconvolved.overview, deconvolved, rows, 3),
            Dataset("track", "annotation", "Vesicle tracks", "Tracks of vesicles.", tracked, rows, 3),
            Dataset(RUN, "images", "Workflow and run record", "What ran (6 jobs done).", None, rows, 0),
        ),
        pipeline_title="Deconvolve and track",
        correlations=(Correlation("Overlay", "Manual overlay", "Beads"),),
        acknowledgements="We thank the microscope.",
        funding_statement="Funded by an example grant.",
        grants=(Grant("EX-1", "Example Funder"),),
        publications=(Publication("On vesicles", "J. Carberry", "10.1038/s41592-021-01166-8", 2021),),
        links=(Link("https://example.org/code#main", "Image analysis code"), Link("https://example.org")),
    )
    return dataclasses.replace(study, **changes)


@dataclass
class Feed:
    """What the views of a study are shown, in the order in which they are shown it."""

    run_files: list[StudyFile]
    raw_files: list[StudyFile]
    jobs: list[Job]
    steps: tuple[str, ...] = ("deconvolve", "track")

    def files(self) -> Iterator[StudyFile]:
        """Every file."""
        yield from (*self.run_files, *self.raw_files)
        for job in self.jobs:
            yield from job.outputs

    @property
    def inventory(self) -> Inventory:
        """What the first pass would have found; there is no plan behind it."""
        datasets: dict[str, DatasetSurvey] = {}
        for file in self.files():
            if file.dataset != RUN:
                datasets.setdefault(file.dataset, DatasetSurvey()).add(file)
        return Inventory(
            root=Path("study"),
            plan=cast(Plan, None),
            steps={name: StepSurvey(name, {}) for name in self.steps},
            datasets=datasets,
            association_of=lambda row: titles_of(row.id),
            started_at="2026-11-20T10:00:00Z",
            ended_at="2026-11-20T10:11:00Z",
        )

    def show(self, *views: Any) -> None:
        """Show everything once to all views, and finish them."""
        for file in self.run_files:
            for view in views:
                view.run_file(file)
        for file in self.raw_files:
            for view in views:
                view.raw(file)
        for job in self.jobs:
            for view in views:
                view.job(job)
        for view in views:
            view.finish()

    def make_tree(self, folder: Path) -> None:
        """Put a file, or a folder with one, below ``run-crate/`` for each file that is handed on."""
        for file in self.files():
            path = folder / "run-crate" / file.path
            if file.folder:
                path /= "zarr.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.path, encoding="utf-8")


def make_feed(units: tuple[str, ...] = UNITS, drugs: tuple[str, ...] = DRUGS) -> Feed:
    """Three raw images, each deconvolved and tracked, and the workflow that did it."""
    raw = [_raw(unit, drug) for unit, drug in zip(units, drugs, strict=True)]
    jobs: list[Job] = []
    for source, drug in zip(raw, drugs, strict=True):
        unit = source.path.removeprefix("raw/").removesuffix(".ome.tif")
        stack = _made(unit, drug, "deconvolve", "stack.ome.zarr", source, "image", "ome-zarr")
        tracks = _made(unit, drug, "track", "tracks.csv", stack, "table", "csv")
        jobs += [make_job(unit, "deconvolve", source, stack), make_job(unit, "track", stack, tracks)]
    jobs.sort(key=lambda job: job.record.step)
    run = [_run_file(name) for name in ("config/samples.tsv", "workflow/Snakefile", "ro-crate-metadata.json")]
    return Feed(run, raw, jobs)


def sha256_of(name: str) -> str:
    """A digest that stands for a file."""
    return hashlib.sha256(name.encode()).hexdigest()


def _run_file(name: str) -> StudyFile:
    return StudyFile(name, name, RUN, False, None, 12, sha256_of(name), None, {}, type="file")


def _columns(unit: str, drug: str) -> dict[str, str]:
    biosample, specimen, acquisition = titles_of(unit) if unit in SAMPLE_OF else titles_of(UNITS[0])
    return {
        "sample": unit,
        "drug": drug,
        "type": unit[-1],
        "biosample": biosample,
        "specimen": specimen,
        "acquisition": acquisition,
    }


def _raw(unit: str, drug: str) -> StudyFile:
    path = f"raw/{unit}.ome.tif"
    columns = {**_columns(unit, drug), "bytes": "1000", "sha256": sha256_of(path)}
    return StudyFile(path, f"/data/{unit}.ome.tif", RAW, False, "ome-tiff", 1000, sha256_of(path), None, columns)


def _made(unit: str, drug: str, step: str, name: str, source: StudyFile, type_: str, format_: str) -> StudyFile:
    path = f"results/{unit}/{step}/{name}"
    columns = {
        "sample": unit,
        "output": name.split(".")[0],
        **_columns(unit, drug),
        **({"axes": "zyx", "shape": "10,20,30", "voxel_size_um": "0.3,0.1,0.1"} if format_ == "ome-zarr" else {}),
        "bytes": str(len(path)),
        "sha256": sha256_of(path),
        "created": f"2026-11-20T10:1{len(drug) % 10}:00Z",
    }
    return StudyFile(
        path=path,
        here=path,
        dataset=step,
        folder=format_ == "ome-zarr",
        format=format_,
        bytes=len(path),
        sha256=sha256_of(path),
        listing=None,
        columns=columns,
        sources=(source.path,),
        type=type_,
        port=name.split(".")[0],
        created_at=columns["created"],
    )


def make_job(unit: str, step: str, source: StudyFile, made: StudyFile) -> Job:
    """A job that read one file and made another."""
    facts = FileFacts("image", source.path, source.bytes, source.sha256)
    record = JobRecord(
        path=Path(f"records/{unit}/{step}.json"),
        status="done",
        unit=unit,
        samples=(unit,),
        step=step,
        snakemake="9.0.0",
        started_at="2026-11-20T10:00:00Z",
        ended_at=made.created_at or "",
        wall_s=1.0,
        cpu_s=1.0,
        peak_memory_mb=10.0,
        exit_code=0,
        host="node1",
        scheduler=None,
        environment={},
        tool_version_observed="2.1",
        argv=("prog",),
        row_parameters={},
        inputs=(facts,),
        outputs=(FileFacts(made.port or "", made.path, made.bytes, made.sha256),),
        compiled={},
    )
    used = Used("image", source.path, source.bytes, source.sha256, source.type, True)
    return Job(record, (used,), (made,), None)


def replace_output(job: Job, **changes: Any) -> Job:
    """The job with its output changed."""
    return dataclasses.replace(job, outputs=(dataclasses.replace(job.outputs[0], **changes),))
