"""What an image says of how it was taken: microscope, objective, channels, time.

The facts have one form here; each format's reader finds them (`read_acquisitions`). Nothing is guessed: what the
file does not say is None, and so are the stand-ins that programs write when they know nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from snakescope.errors import SnakescopeError, problem
from snakescope.images.header import micrometres, positive, round_off, seconds
from snakescope.images.image import reader_of, unreadable

# What formats and programs write in place of a word they do not know ("Other" is the one of the OME model).
_NO_WORD = {"", "???", "n/a", "na", "none", "not specified", "null", "other", "undefined", "unknown", "unspecified"}
# Earlier dates are the zero of some clock: no microscope wrote such files then.
_FIRST_YEAR = 1980


@dataclass(frozen=True)
class ChannelFacts:
    """One channel, as the file describes it; None for what it does not say.

    Parameters
    ----------
    name, fluorophore
        As the file has them; many files have the fluorophore in the name alone.
    excitation_nm, emission_nm
        Wavelengths in nanometres.
    contrast_method
        The file's own word, for example ``Fluorescence``.
    exposure_ms
        Milliseconds; None too where the planes of the channel differ.
    """

    name: str | None = None
    fluorophore: str | None = None
    excitation_nm: float | None = None
    emission_nm: float | None = None
    contrast_method: str | None = None
    exposure_ms: float | None = None

    def summary(self, position: int, *, exposure: bool = True) -> str | None:
        """Return for example ``EGFP (excitation 488 nm, emission 509 nm)``; None when nothing is known.

        Parameters
        ----------
        position
            From 1: what a channel without name and fluorophore is called.
        exposure
            Whether to say the exposure.
        """
        name = self.name or self.fluorophore
        facts = [
            self.fluorophore if self.fluorophore != name else None,
            self.contrast_method,
            _figure("excitation", self.excitation_nm, "nm"),
            _figure("emission", self.emission_nm, "nm"),
            _figure("exposure", self.exposure_ms if exposure else None, "ms"),
        ]
        told = ", ".join(fact for fact in facts if fact)
        if not told:
            return name
        return f"{name or f'channel {position}'} ({told})"


@dataclass(frozen=True)
class Acquisition:
    """How one image was taken, as its file says; None, or no channels, for what it does not say.

    Parameters
    ----------
    instrument
        Manufacturer and model of the microscope.
    objective
        Its model; without one, put together from magnification, aperture and immersion, such as ``63x/1.4 Oil``.
    magnification, numerical_aperture
        Nominal ones of the objective.
    immersion
        The file's own word, for example ``Oil`` or Leica's ``GLYC``.
    imaging_mode
        The file's own word, for example ``LaserScanningConfocalMicroscopy``; several when its channels differ.
    channels
        In the order of the image; empty when the file says nothing of any of them.
    acquired_at
        ISO 8601, to the second: UTC and ending in Z where the file knows the time zone, else local time without one.
    detector
        Camera or detectors.
    software
        Software that took the image; for OME-XML, the one that wrote it.
    """

    instrument: str | None = None
    objective: str | None = None
    magnification: float | None = None
    numerical_aperture: float | None = None
    immersion: str | None = None
    imaging_mode: str | None = None
    channels: tuple[ChannelFacts, ...] = ()
    acquired_at: str | None = None
    detector: str | None = None
    software: str | None = None

    def summary(self) -> str | None:
        """Say objective, detector, channels and exposure in one English sentence; None when none is known."""
        exposures = {channel.exposure_ms for channel in self.channels}
        common = next(iter(exposures)) if len(exposures) == 1 else None
        told = [c.summary(n, exposure=common is None) for n, c in enumerate(self.channels, 1)]
        channels = ", ".join(text for text in told if text)
        parts = [
            self._objective_summary(),
            f"detector {self.detector}" if self.detector else None,
            f"channels: {channels}" if channels else None,
            _figure("exposure", common, "ms"),
        ]
        return "; ".join(part for part in parts if part) or None

    def _objective_summary(self) -> str | None:
        """Name the objective, and after it the facts that its name does not hold."""
        name = self.objective or ""
        figures = {float(n) for n in re.findall(r"\d+(?:\.\d+)?", name)}
        facts = []
        if self.magnification is not None and self.magnification not in figures:
            facts.append(f"{self.magnification:g}x")
        if self.numerical_aperture is not None and self.numerical_aperture not in figures:
            facts.append(f"NA {self.numerical_aperture:g}")
        if self.immersion and self.immersion.casefold() not in name.casefold():
            facts.append(f"immersion {self.immersion}")
        if not name:
            return ", ".join(facts) or None
        return f"objective {name}" + (f" ({', '.join(facts)})" if facts else "")


def read_acquisition(path: Path, scene: int = 0) -> Acquisition:
    """Return what an image says of how it was taken; no pixels are read.

    Parameters
    ----------
    path
        File or OME-Zarr store.
    scene
        Which image of the file, from 0.

    Raises
    ------
    InputError
        If the file cannot be read or has no such scene.
    """
    path = Path(path)
    reader = reader_of(path)
    try:
        found: list[Acquisition] = reader.read_acquisitions(path)
    except SnakescopeError:
        raise
    except Exception as error:  # a damaged file makes the vendor libraries fail in any way
        raise unreadable(path, error) from error
    if not 0 <= scene < len(found):
        raise problem(path, f"has no scene {scene}; it has {len(found)}, counted from 0", "Give one of these.")
    return found[scene]


# ---------------------------------------------------------------------------- for the readers


def word(text: object) -> str | None:
    """Return a text as one line, or None for no text and for the words that stand for 'not known'."""
    line = " ".join(str(text).split()) if text is not None else ""
    return None if line.casefold() in _NO_WORD else line


def model_name(manufacturer: object, model: object) -> str | None:
    """Return manufacturer and model, without saying the manufacturer twice."""
    maker, name = word(manufacturer), word(model)
    if maker and name and not name.casefold().startswith(maker.casefold()):
        return f"{maker} {name}"
    return name or maker


def objective_name(
    model: object, magnification: float | None, numerical_aperture: float | None, immersion: str | None
) -> str | None:
    """Return the model of an objective, or else what is known of it, such as ``63x/1.4 Oil``."""
    if word(model):
        return word(model)
    power = f"{magnification:g}x" if magnification is not None else None
    aperture = f"{numerical_aperture:g}" if numerical_aperture is not None else None
    figures = f"{power}/{aperture}" if power and aperture else power or (f"NA {aperture}" if aperture else None)
    return " ".join(part for part in (figures, immersion) if part) if figures else None


def nanometres(value: object, unit: str | None = "nm") -> float | None:
    """Return a wavelength in nm, or None when it is not one."""
    length = micrometres(value, unit)
    return round_off(length * 1000) if length is not None else None


def milliseconds(value: object, unit: str | None) -> float | None:
    """Return a duration in ms, or None when it is not one."""
    duration = seconds(value, unit)
    return round_off(duration * 1000) if duration is not None else None


def figure(value: object) -> float | None:
    """Return a number above 0 without the noise of its storage, or None."""
    number = positive(value)
    return round_off(number) if number is not None else None


def iso_time(time: str | datetime | None) -> str | None:
    """Return a point in time to the second: UTC with Z where it has a time zone, else as it is; None if it is none."""
    try:
        if isinstance(time, str):
            time = datetime.fromisoformat(time.strip()) if "T" in time else None
        if time is None or time.year < _FIRST_YEAR:
            return None
        zone = "" if time.tzinfo is None else "Z"
        time = time if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return time.replace(tzinfo=None).isoformat(timespec="seconds") + zone


def together(words: Iterable[str | None]) -> str | None:
    """Return each known word once, in order; None when there is none."""
    return "; ".join(dict.fromkeys(text for text in words if text)) or None


def known(channels: Iterable[ChannelFacts]) -> tuple[ChannelFacts, ...]:
    """Return the channels, or none of them when nothing is known of any."""
    kept = tuple(channels)
    return kept if any(getattr(channel, f.name) is not None for channel in kept for f in fields(channel)) else ()


def _figure(what: str, value: float | None, unit: str) -> str | None:
    return f"{what} {value:.6g} {unit}" if value is not None else None
