"""``snakescope verify --rerun``: run jobs of sampled rows again, from their records alone, and compare what they write.

A job runs in a folder of its own below ``.snakescope/rerun/``, in which its inputs are links at the paths that the
record names. Nothing of the study is written to.
"""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snakescope import __version__, layout
from snakescope.errors import InputError, Problem, SnakescopeError, problem
from snakescope.record import FileFacts, JobRecord, digest, read_record, read_records, reason
from snakescope.samples import read_sheet
from snakescope.study.verify.compare import distance
from snakescope.study.verify.environment import FOLDER, Environment, NotHereError, environment_of, expand_home
from snakescope.tool.base import read_yaml
from snakescope.words import many

Progress = Callable[[str, int, int], None]
# To a zone, for an image that is staged once more.
CONNECTIONS = 4


@dataclass(frozen=True)
class RerunResult:
    """What came of running jobs again.

    Parameters
    ----------
    rows
        Ids of the sampled rows.
    jobs
        Their done jobs; each is identical, within tolerance, different or not run again.
    identical
        Jobs all of whose outputs have the recorded digest.
    within_tolerance
        Jobs that differ by no more than their tool declares.
    different_jobs, different
        Jobs that failed or wrote something else, or whose outputs in the study are no longer what they wrote; the
        findings, one or more a job.
    changed
        Inputs that are no longer what was read, each once.
    not_rerun
        One finding for each job that could not be run again. These count as nothing else.
    notes
        Versions that differ from those recorded.
    """

    rows: tuple[str, ...]
    jobs: int
    identical: int
    within_tolerance: int
    different_jobs: int
    different: list[Problem] = field(default_factory=list)
    changed: list[Problem] = field(default_factory=list)
    not_rerun: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def reproduced(self) -> bool:
        """Whether every job was run again and gave the same, within its tolerance."""
        return not (self.different or self.changed or self.not_rerun)


def rerun(
    root: Path, count: int, *, seed: int = 0, steps: Collection[str] = (), progress: Progress | None = None
) -> RerunResult:
    """Run every done job of some rows again and compare its outputs with its record.

    Parameters
    ----------
    root
        Study folder.
    count
        How many rows of the sheet to take, of those with a done job; all when there are fewer.
    seed
        Seed of the choice: the same rows for the same seed and study.
    steps
        Only jobs of these steps; all when empty.
    progress
        Told the name of the pass, what is done and how much there is.

    Raises
    ------
    InputError
        If `count` is not above 0, a step is not known, or no job is done.
    """
    if count < 1:
        raise problem("--rerun", f"found {count}; expected a number of rows above 0")
    jobs_of_row = _jobs_of_rows(root, steps)
    if not jobs_of_row:
        raise problem(root / layout.RECORDS, "no job of a row of the sheet is done", "Run the study first.")
    wanted = min(count, len(jobs_of_row))
    rows = tuple(random.Random(seed).sample(list(jobs_of_row), wanted))  # noqa: S311 - a sample, not a secret
    paths = list(dict.fromkeys(path for row in rows for path in jobs_of_row[row]))
    session = _Session(root.resolve())
    for index, path in enumerate(paths):
        if progress:
            progress("running again", index, len(paths))
        session.job(read_record(path, root))
    if progress:
        progress("running again", len(paths), len(paths))
    session.clean()
    return session.result(rows)


def _jobs_of_rows(root: Path, steps: Collection[str]) -> dict[str, list[Path]]:
    """Records of the done jobs of each row, in the order of the sheet and of the jobs' ends."""
    config = read_yaml(root / layout.CONFIG)
    sheet = read_sheet(root / str(config.get("samples", layout.SHEET)))
    found: dict[str, list[tuple[str, Path]]] = {row.id: [] for row in sheet.rows}
    known: set[str] = set()
    for record in read_records(root):
        known.add(record.step)
        if not steps or record.step in steps:
            for row in record.samples:
                if row in found:
                    found[row].append((record.ended_at or "", record.path))
    unknown = sorted(set(steps) - known)
    if unknown:
        have = ", ".join(sorted(known)) or "none"
        raise InputError(
            Problem("--steps", f"no job of a step {name!r} is done (done are: {have})") for name in unknown
        )
    return {row: [path for _, path in sorted(jobs)] for row, jobs in found.items() if jobs}


class _Session:
    """Runs jobs one after the other and keeps count; each file of the study is hashed once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.counts: Counter[str] = Counter()
        self.different: list[Problem] = []
        self.changed: dict[str, Problem] = {}
        self.not_rerun: list[Problem] = []
        self.versions: Counter[str] = Counter()
        self.digests: dict[Path, str] = {}
        self.staged: dict[str, Path | str] = {}
        self.unreachable: str | None = None

    def result(self, rows: tuple[str, ...]) -> RerunResult:
        return RerunResult(
            rows,
            self.counts.total(),
            self.counts["identical"],
            self.counts["within"],
            self.counts["different"],
            self.different,
            list(self.changed.values()),
            self.not_rerun,
            [f"{text}, in {many(count, 'job')}" for text, count in self.versions.items()],
        )

    def clean(self) -> None:
        """Remove what was staged, and the folder that jobs ran in, unless one of them is kept."""
        folder = self.root / FOLDER
        shutil.rmtree(folder / layout.STAGED, ignore_errors=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def job(self, record: JobRecord) -> None:
        """Run one job again."""
        where = layout.record(record.unit, record.step)
        try:
            self._check_inputs(record)
            environment = environment_of(record, self.root)
            work = _Work.make(self.root, record, {item.here: self._place(item) for item in record.inputs})
        except (NotHereError, OSError) as error:
            self.counts["not_rerun"] += 1
            self.not_rerun.append(Problem(where, str(error)))
            return
        keep = False
        try:
            status = work.run(environment)
            self._note_versions(record, work)
            kind = self._compare(record, work, status)
            self.counts[kind] += 1
            keep = kind == "different"
        finally:
            if not keep:
                shutil.rmtree(work.folder, ignore_errors=True)

    # ------------------------------------------------------------------ before

    def _check_inputs(self, record: JobRecord) -> None:
        """Raise unless every input is what the job has read."""
        bad = [text for text in (self._input_problem(item) for item in record.inputs) if text]
        if bad:
            raise NotHereError(bad[0] + (f" (and so for {len(bad) - 1} more)" if len(bad) > 1 else ""))

    def _place(self, item: FileFacts) -> Path:
        """Where an input is read now."""
        again = self.staged.get(item.path)
        return again if isinstance(again, Path) else self.root / expand_home(item.here)

    def _stage(self, item: FileFacts) -> str | None:
        """Stage an image that lies in iRODS once more, unless its copy was kept; say what stands in the way."""
        if item.staged is None or (self.root / item.staged).exists():
            return None
        if item.path not in self.staged:
            self.staged[item.path] = self._staged(item.path, Path(item.staged))
        again = self.staged[item.path]
        return f"its input {item.path!r} cannot be staged again: {again}" if isinstance(again, str) else None

    def _staged(self, address: str, place: Path) -> Path | str:
        """The copy that an upload was made of, else a new one; text where there can be none."""
        from snakescope.zone.stage import SOURCE, stage

        fetched = self.root / layout.fetched(place.parent.name)
        if (fetched / place.name).exists() and _first_line(fetched / SOURCE) == address:
            return fetched / place.name
        if self.unreachable:
            return self.unreachable
        folder = self.root / FOLDER / layout.STAGED / place.parent.name
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            return stage(address, folder, place.name, connections=CONNECTIONS).path
        except InputError as error:
            return str(error)
        except SnakescopeError as error:  # nobody waits for a zone twice
            self.unreachable = str(error)
            return self.unreachable

    def _input_problem(self, item: FileFacts) -> str | None:
        problem = self._stage(item)
        path = self._place(item)
        if problem or not path.exists():
            return problem or f"its input {item.path!r} is not there"
        recorded = item.sha256 or self._digest_elsewhere(item)
        if recorded is None:
            return f"no digest of its input {item.path!r} was recorded, so nobody can say whether it is the same"
        if self._digest(path) == recorded:
            return None
        made = "Run the study again, or bring the file back."
        self.changed.setdefault(item.path, Problem(item.path, "the input is no longer what was read", made))
        return f"its input {item.path!r} is no longer what was read"

    def _digest_elsewhere(self, item: FileFacts) -> str | None:
        """Digest of an input that another job has taken."""
        if item.record is None:
            return None
        try:
            other = read_record(self.root / item.record)
        except InputError:
            return None
        return next((found.sha256 for found in other.inputs if found.path == item.path and found.sha256), None)

    def _digest(self, path: Path) -> str:
        if path not in self.digests:
            self.digests[path] = digest(path)
        return self.digests[path]

    # ------------------------------------------------------------------ after

    def _note_versions(self, record: JobRecord, work: _Work) -> None:
        now = work.tool_version()
        for name, before, found in (
            ("snakescope", record.compiled.get("snakescope"), __version__),
            (f"the tool of step {record.step!r}", record.tool_version_observed, now),
        ):
            if before != found:
                self.versions[
                    f"{name} was {before or 'of unknown version'}, is {found or 'of unknown version'} now"
                ] += 1

    def _compare(self, record: JobRecord, work: _Work, status: int) -> str:
        """How a job compares with its record: ``identical``, ``within`` or ``different``."""
        if status != 0:
            log = work.log.relative_to(self.root)
            self._tell(record, f"failed with exit status {status}: {reason(work.log)}", f"Whole log: {log}")
            return "different"
        kinds = [self._compare_output(record, item, work) for item in record.outputs]
        return max(kinds, key=["identical", "within", "different"].index, default="identical")

    def _compare_output(self, record: JobRecord, item: FileFacts, work: _Work) -> str:
        new, original = work.place / item.path, self.root / item.path
        kept = f"Kept in {work.folder.relative_to(self.root)}"
        if not new.exists():
            self._tell(record, f"{item.path!r} was not written this time", kept)
            return "different"
        recorded = item.sha256 or (self._digest(original) if original.exists() else None)
        if recorded is None:
            self._tell(record, f"{item.path!r} is gone, and no digest of it was recorded", kept)
            return "different"
        unchanged = not original.exists() or self._digest(original) == recorded
        if digest(new) == recorded:
            if unchanged:
                return "identical"
            told = (
                "the file in the study is no longer what its record says; running the job again gave what was recorded"
            )
            self._tell(record, f"{item.path!r}: {told}", kept)
            return "different"
        return self._measure(record, item, original if unchanged else None, new, kept)

    def _measure(self, record: JobRecord, item: FileFacts, original: Path | None, new: Path, kept: str) -> str:
        """Compare by content what is not the same to the last bit."""
        if original is None or not original.exists():
            why = "is gone" if original is not None else "is no longer what was recorded either"
            self._tell(record, f"{item.path!r} came out different; the one in the study {why}", kept)
            return "different"
        port = record.compiled["outputs"].get(item.port, {})
        found, tolerance = distance(original, new, port.get("format")), port.get("tolerance")
        if tolerance is not None and found.relative <= float(tolerance):
            return "within"
        allowed = "" if tolerance is None else f"; the tool's tolerance is {tolerance:g}"
        self._tell(record, f"{item.path!r} came out different: {found.told}{allowed}", kept)
        return "different"

    def _tell(self, record: JobRecord, message: str, fix: str) -> None:
        self.different.append(Problem(layout.record(record.unit, record.step), message, fix))


@dataclass(frozen=True)
class _Work:
    """The folder of one job: `place` is where it runs, as in the study folder."""

    folder: Path
    place: Path
    argv: tuple[str, ...]

    @classmethod
    def make(cls, root: Path, record: JobRecord, places: Mapping[str, Path]) -> _Work:
        """Make the folder with links to the inputs, which lie at `places` by recorded path, and room for the outputs.

        Raises
        ------
        NotHereError
            If a recorded path would lead out of it.
        """
        argv = tuple(expand_home(word) for word in record.argv)
        inputs = [expand_home(item.here) for item in record.inputs]
        inputs += _programs(root, argv, record)
        expanded = {expand_home(path): place for path, place in places.items()}
        upwards = max((_upwards(path) for path in inputs), default=0)
        (root / FOLDER).mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w.-]", "_", f"{record.step}-{record.unit[:100]}-")  # Apptainer splits names at some signs
        folder = Path(tempfile.mkdtemp(prefix=name, dir=root / FOLDER))
        work = cls(folder, folder.joinpath("study", *["in"] * upwards), argv)
        try:
            work.place.mkdir(parents=True)
            for path in dict.fromkeys(inputs):
                work.link(path, expanded.get(path, root / path))
            for item in record.outputs:
                work._inside(item.path).parent.mkdir(parents=True, exist_ok=True)
        except (NotHereError, OSError):
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return work

    def link(self, path: str, target: Path) -> None:
        """Put an input where the job looks for it; absolute ones are there already."""
        if Path(path).is_absolute():
            return
        place = self._inside(path)
        if not os.path.lexists(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(Path(os.path.abspath(target)))  # noqa: PTH100 - links are kept

    def _inside(self, path: str) -> Path:
        place = Path(os.path.normpath(self.place / path))
        if not place.is_relative_to(self.folder / "study"):
            raise NotHereError(f"the path {path!r} leads out of the study")
        return place

    @property
    def log(self) -> Path:
        """What the tool said."""
        return self.folder / "log.txt"

    def run(self, environment: Environment) -> int:
        """Run the tool as a job does, and return its exit status."""
        told = {**_threads(self.argv), "SNAKESCOPE_VERSION_FILE": str(self.folder / "version")}
        told |= {"TMPDIR": os.environ["TMPDIR"]} if os.environ.get("TMPDIR") else {}
        own = {f"{environment.prefix}{name}": value for name, value in told.items()}
        wanted = {**os.environ, "PWD": str(self.place), **own, **environment.variables}
        variables = {name: value for name, value in wanted.items() if value is not None}
        argv = environment.wrap(self.argv, self.folder, self.place)
        with self.log.open("wb") as log:
            try:
                done = subprocess.run(
                    argv, cwd=self.place, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
                )
            except OSError as error:
                log.write(f"error: {shlex.quote(argv[0])} cannot be started ({error.strerror})\n".encode())
                return 127
        return done.returncode

    def tool_version(self) -> str | None:
        """Version that the tool gave of itself."""
        try:
            return (self.folder / "version").read_text(encoding="utf-8").partition("\n")[0] or None
        except (OSError, UnicodeDecodeError):
            return None


def _programs(root: Path, argv: Sequence[str], record: JobRecord) -> Iterator[str]:
    """Files of the study that the command names beside its inputs: a tool's own script.

    Raises
    ------
    NotHereError
        If the script is not the one that ran, or the job ran an ImageJ macro, which is told whole paths.
    """
    if any(word.endswith(".ijm") for word in argv):
        raise NotHereError("it ran an ImageJ macro, which only a run of the pipeline repeats")
    if record.compiled.get("models"):
        raise NotHereError("it was told where its model lies, which only a run of the pipeline repeats")
    outputs = {item.path for item in record.outputs}
    expected = record.compiled.get("tool", {}).get("script_sha256")
    script = next((word for word in argv[1:2] if argv[0] == "python" and word.endswith(".py")), None)
    for word in dict.fromkeys(argv):
        if word in outputs or not os.path.isfile(root / word):  # noqa: PTH113 - words too long for a name are none
            continue
        if word == script and expected and digest(root / word) != expected:
            raise NotHereError(f"its program {word!r} is no longer what ran")
        yield word


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, ValueError):
        return None


def _upwards(path: str) -> int:
    """How many folders a relative path leads up."""
    return Path(os.path.normpath(path)).parts.count("..")


def _threads(argv: Sequence[str]) -> Mapping[str, str]:
    """What Snakemake tells numerical libraries of the threads of a job; sums depend on it in their last digits."""
    if "--threads" not in argv[:-1]:
        return {}
    count = argv[argv.index("--threads") + 1]
    names = ("OMP", "GOTO", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR")
    return {f"{name}_NUM_THREADS" if name != "VECLIB_MAXIMUM" else f"{name}_THREADS": count for name in names}
