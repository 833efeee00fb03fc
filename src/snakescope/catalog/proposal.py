"""Which naming the files of a folder follow, proposed before it is believed."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from snakescope.catalog.names import split_suffix, unique_ids
from snakescope.catalog.patterns import Naming, Pattern, compile_pattern, known_namings, tagged_namings
from snakescope.samples import format_number

_SAMPLE = 400
_TAGGED = 6
# How far a time between two images may be off, as a part of it, for all of them to be one step.
_JITTER = 0.05
_GROUPING = frozenset({"series", "t", "c"})


@dataclass(frozen=True)
class Proposal:
    """A pattern for the names of the files, with what it would make of them.

    Parameters
    ----------
    pattern
        As ``--pattern`` takes it.
    naming
        Microscope or program that names files so; "as given" for a pattern of the user's.
    matched, total
        Files that fit, of all images.
    n_series
        Series the fitting files fall into.
    example, fields
        One fitting file and what its name says.
    unmatched
        First files that do not fit.
    z_planes
        Most files of one volume that differ in z only; above 1 the naming is not supported.
    accepted
        Whether series, t and c were filled from it.
    """

    pattern: str
    naming: str
    matched: int
    total: int
    n_series: int
    example: str
    fields: dict[str, str]
    unmatched: tuple[str, ...] = ()
    z_planes: int = 1
    accepted: bool = False

    @property
    def supported(self) -> bool:
        """Whether each file holds a whole volume."""
        return self.z_planes == 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**self.__dict__, "unmatched": list(self.unmatched), "supported": self.supported}


@dataclass
class Reading:
    """What a pattern makes of a list of files."""

    pattern: Pattern
    naming: str
    fields: dict[str, dict[str, str]] = field(default_factory=dict)
    series: dict[str, str] = field(default_factory=dict)
    z_planes: int = 1
    duplicates: int = 0

    @property
    def groups(self) -> bool:
        """Whether it puts files together without taking two for the same."""
        return self.duplicates == 0 and len(set(self.series.values())) < len(self.series)

    @cached_property
    def time_steps(self) -> dict[str, str]:
        """Seconds from one image to the next in its series and channel, by file, where the names tell when it was.

        The median, to the millisecond; none where a difference is more than 5 % off, since then no one step is true.
        """
        groups: dict[tuple[str, str], dict[int, tuple[int, str]]] = {}
        for name, fields in self.fields.items():
            if fields.get("t") and fields.get("time_ms"):
                group = groups.setdefault((self.series[name], fields.get("c", "")), {})
                group[int(fields["t"])] = (int(fields["time_ms"]), name)
        return {name: step for group in groups.values() if (step := _step_s(group)) for _, name in group.values()}

    def proposal(self, files: Sequence[str], *, accepted: bool) -> Proposal:
        """Sum it up."""
        unmatched = tuple(name for name in files if name not in self.fields)
        example = next(iter(self.fields), "")
        return Proposal(
            pattern=self.pattern.text,
            naming=self.naming,
            matched=len(self.fields),
            total=len(files),
            n_series=len(set(self.series.values())),
            example=example,
            fields=self.fields.get(example, {}),
            unmatched=unmatched[:10],
            z_planes=self.z_planes,
            accepted=accepted,
        )


def _step_s(times: Mapping[int, tuple[int, str]]) -> str | None:
    """The one step between times in ms by their index, in s; None where there is none."""
    ordered = sorted((t, time_ms) for t, (time_ms, _) in times.items())
    steps = [(time - before) / (t - last) for (last, before), (t, time) in pairwise(ordered)]
    step = statistics.median(steps) if steps else 0.0
    if step <= 0 or any(abs(each - step) > _JITTER * step for each in steps):
        return None
    return format_number(round(step / 1000, 3)) if step >= 1 else None


def read_names(pattern: Pattern, naming: str, files: Iterable[str]) -> Reading:
    """Hold a pattern against every file."""
    reading = Reading(pattern, naming)
    volumes: Counter[tuple[str, ...]] = Counter()
    planes: Counter[tuple[str, ...]] = Counter()
    for name in files:
        fields = pattern.parse(name)
        if fields is None:
            continue
        series = pattern.series(name, fields)
        reading.fields[name] = fields
        reading.series[name] = series
        volume = (series, fields.get("t", ""), fields.get("c", ""))
        planes[(*volume, fields.get("z", ""))] += 1
    for plane in planes:
        volumes[plane[:3]] += 1
    reading.z_planes = max(volumes.values(), default=1)
    reading.duplicates = sum(count - 1 for count in planes.values())
    return reading


def find_naming(files: Sequence[str]) -> Reading | None:
    """Find the naming that explains most files, and of these the one with the fewest series.

    One that would take two files for the same time point and channel is not considered, nor one that puts no
    files together. Plain numbers at the end of a name are left alone: they may count cells as well as frames.
    """
    best: Reading | None = None
    for naming in _candidates(files):
        reading = read_names(compile_pattern(naming.text), naming.name, files)
        if reading.groups and (best is None or _rank(reading) > _rank(best)):
            best = reading
    return best


def _rank(reading: Reading) -> tuple[int, int]:
    return len(reading.fields), -len(set(reading.series.values()))


def _candidates(files: Sequence[str]) -> list[Naming]:
    """Namings that fit some file of a sample; trying all of them on 100,000 names would take long."""
    sample = files[:: max(1, len(files) // _SAMPLE)]
    fitting = [
        naming
        for naming in known_namings()
        if _fits(naming.text, sample) and not (naming.unless and _fits(naming.unless, sample))
    ]
    tagged = Counter(naming for name in sample for naming in tagged_namings(split_suffix(name.rpartition("/")[2])[0]))
    return fitting + [naming for naming, _ in tagged.most_common(_TAGGED)]


def _fits(text: str, files: Sequence[str]) -> bool:
    pattern = compile_pattern(text)
    return any(pattern.parse(name) is not None for name in files)


def name_series(reading: Reading | None, start: str, elsewhere: Iterable[str]) -> dict[str, str]:
    """Make the series of the names fit for folders, apart from those of the sheet that lie elsewhere.

    Parameters
    ----------
    reading
        The naming that is used, if any.
    start
        What tells series of this place from others of the same name.
    elsewhere
        Series of the sheet's rows that do not lie here.
    """
    if reading is None or not _GROUPING & set(reading.pattern.names):
        return {}
    names = unique_ids({f"{start}\n{raw}": raw for raw in set(reading.series.values())}, taken=elsewhere)
    return {name: names[f"{start}\n{raw}"] for name, raw in reading.series.items()}
