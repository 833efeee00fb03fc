"""The demonstration: a synthetic study with known truth, run whole, and compared with the truth."""

from __future__ import annotations

import dataclasses
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snakescope import layout
from snakescope.catalog import collect_folder
from snakescope.evaluate import (
    EdgeScore,
    Positions,
    SpotScore,
    TrackScore,
    read_positions,
    score_edges,
    score_spots,
    score_tracks,
)
from snakescope.runner.folder import init, open_study
from snakescope.runner.outcome import RunResult
from snakescope.runner.report import run_summary
from snakescope.runner.run import run
from snakescope.samples import Sheet, build_sheet, format_number, write_sheet
from snakescope.study.export import ExportReport, export
from snakescope.synthetic import Microscope, generate_llsm

GATE_UM = 0.4
SERIES, FRAMES = 2, 8
# What a person would type. The author is the one that ORCID made up for such purposes, the taxon that of what was
# never alive.
STUDY = """\
schema: 1
title: Simulated vesicles under a lattice light-sheet microscope
description: >-
  Synthetic stage-scan stacks of vesicles whose tracks are known, for trying snakescope. Nothing in it was measured.
keywords: [synthetic data, lattice light-sheet, deconvolution, tracking]
license: CC0
release_date: 2027-01-31
authors:
  - first_name: Josiah
    last_name: Carberry
    email: j.carberry@example.org
    orcid: 0000-0002-1825-0097
    role: data analysis
    affiliation: {name: Brown University, ror: https://ror.org/05gq02987}
biosamples:
  - organism: synthetic construct (NCBITaxon:32630)
    biological_entity: simulated vesicles
    experimental_variables: [time]
specimens:
  - sample_preparation: None; the images are simulated.
acquisitions:
  - imaging_instrument: Simulated stage-scanning lattice light-sheet microscope
    imaging_method: light sheet fluorescence microscopy
"""


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration found, against what there was.

    Parameters
    ----------
    spots, edges, tracks
        Agreement with the truth over all series, pairs within 0.4 µm.
    pictures
        What to open, relative to where the command ran.
    exported
        What was written for the archive.
    """

    folder: Path
    run: RunResult
    spots: SpotScore
    edges: EdgeScore
    tracks: TrackScore
    pictures: list[Path]
    exported: ExportReport
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 when every job is done."""
        return self.run.exit_code

    def to_dict(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "folder": str(self.folder),
            "seconds": self.seconds,
            "spots": dataclasses.asdict(self.spots),
            "edges": dataclasses.asdict(self.edges),
            "tracks": dataclasses.asdict(self.tracks),
            "pictures": [str(path) for path in self.pictures],
        }


def demo(folder: Path, *, cores: int | None = None, quiet: bool = False) -> DemoResult:
    """Make a small synthetic lattice light-sheet study, run the pipeline, and compare with the truth.

    Parameters
    ----------
    folder
        Study folder to make. One that is there already is gone on with.
    cores
        Cores to use; by default all.
    quiet
        No progress display.
    """
    started = time.monotonic()
    init(folder)
    if not (folder / "data/truth.csv").is_file():
        generate_llsm(folder / "data", series=SERIES, frames=FRAMES)
        shutil.copyfile(folder / "data/psf.tif", folder / "config/psf.tif")
    report = collect_folder(folder / "data/raw", sheet=folder / layout.SHEET, accept=True)
    write_sheet(folder / layout.SHEET, _with_time_step(report.sheet))
    (folder / layout.STUDY_YAML).write_text(STUDY, encoding="utf-8")
    study = open_study(folder)
    result = run(study, cores=cores, quiet=quiet)
    exported = export(folder, study.config.pipeline)
    scores = _score(folder)
    pictures = sorted(path for suffix in ("png", "gif") for path in (folder / "results").glob(f"*/render/*.{suffix}"))
    return DemoResult(folder, result, *scores, pictures, exported, time.monotonic() - started)


def _with_time_step(sheet: Sheet) -> Sheet:
    """Do what a person would: type the time between stacks, which files of one stack each do not say."""
    rows = [{**row.cells, "time_step_s": format_number(Microscope().time_step_s)} for row in sheet.rows]
    return build_sheet(sheet.columns, rows, sheet.path)


def _score(folder: Path) -> tuple[SpotScore, EdgeScore, TrackScore]:
    """Compare all series at once; each series is moved to frames and ids of its own."""
    truth_path = folder / "data/truth.csv"
    truths, founds = [], []
    for table in sorted(folder.glob("results/*/track/*.csv")):
        series = table.parts[-3]
        truths.append(read_positions(truth_path, id_column="particle_id", series=series))
        founds.append(read_positions(table, id_column="track_id"))
    truth, found = _together(truths), _together(founds)
    edges = score_edges(truth, found, GATE_UM)
    return score_spots(truth, found, GATE_UM), edges, score_tracks(truth, found, GATE_UM)


def _together(parts: list[Positions]) -> Positions:
    frame_step = 1 + max((int(part.frame.max(initial=0)) for part in parts), default=0)
    id_step = 1 + max((int(part.track_id.max(initial=0)) for part in parts), default=0)
    return Positions(
        np.concatenate([part.track_id + index * id_step for index, part in enumerate(parts)]),
        np.concatenate([part.frame + index * frame_step for index, part in enumerate(parts)]),
        np.concatenate([part.position_um.reshape(-1, 3) for part in parts]),
    )


def demo_text(result: DemoResult) -> str:
    """What the demonstration found, for people."""
    spots, tracks = result.spots, result.tracks
    lines = [
        run_summary(result.run),
        "",
        "against the known truth      found   true   recall  precision",
        _score_line(f"spots (within {GATE_UM} µm)", spots),
        _score_line("links between frames", result.edges),
        f"  RMS error of the positions: {'-' if spots.rms_error_um is None else f'{spots.rms_error_um:.3f} µm'}",
        f"  tracks: {tracks.paired} paired with a true one, {tracks.missed} missed, {tracks.spurious} spurious",
        "",
        f"for the archive: {result.exported.folder} (REMBI, submission, file lists, run crate, checksums)",
        "",
        "pictures to open:",
        *(f"  {path}" for path in result.pictures),
    ]
    return "\n".join(lines)


def _score_line(name: str, score: SpotScore | EdgeScore) -> str:
    return f"  {name:<26}{score.found:>6} {score.truth:>6} {_percent(score.recall)}    {_percent(score.precision)}"


def _percent(value: float | None) -> str:
    return f"{'-':>7}" if value is None else f"{100 * value:6.1f}%"
