"""A small lattice light-sheet time-lapse of moving vesicles whose true positions are known.

It makes what a stage-scanning microscope would have written: sheared raw stacks with camera noise, one
file per time point, and the point spread function they were made with. It knows nothing about the tools
that will analyse them. Not modelled: movement during one scan, bleaching, aberrations.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snakescope.errors import problem

MOTIONS = ("confined", "directed", "brownian")
TRUTH_COLUMNS = (
    "series", "particle_id", "frame", "t_s", "z_um", "y_um", "x_um", "motion", "photons",
)  # fmt: skip


@dataclass(frozen=True)
class Microscope:
    """The geometry, optics and camera of the simulated microscope.

    Parameters
    ----------
    shape
        Voxels of one raw stack (z, y, x); z counts steps of the stage.
    voxel_size_um
        Stage step, then the camera pixel along y and x, in micrometres.
    angle_deg
        Between the direction of the stage and the light sheet's plane.
    psf_sigma_um
        Standard deviation of the main lobe (z, y, x) in the upright (deskewed) frame.
    side_lobe, side_lobe_um
        Height of the two axial side lobes relative to the main lobe (0 for a plain Gaussian), and how far
        they are from it: the mark of a square lattice's light sheet (Chen et al. 2014,
        doi:10.1126/science.1257998).
    offset, haze, read_noise
        Camera offset in grey levels, diffuse light in photons per voxel, Gaussian read noise in grey levels.
        One photon is one grey level.
    time_step_s
        From one stack to the next.
    """

    shape: tuple[int, int, int] = (40, 96, 96)
    voxel_size_um: tuple[float, float, float] = (0.3, 0.1, 0.1)
    angle_deg: float = 31.5
    psf_sigma_um: tuple[float, float, float] = (0.2, 0.12, 0.12)
    side_lobe: float = 0.1
    side_lobe_um: float = 0.9
    offset: float = 95.0
    haze: float = 3.0
    read_noise: float = 1.6
    time_step_s: float = 1.0

    def __post_init__(self) -> None:
        if min(self.shape) < 8 or min(self.voxel_size_um) <= 0 or not 0 < self.angle_deg < 90:
            raise problem(
                "the simulated microscope",
                f"shape {self.shape}, voxel size {self.voxel_size_um} um, angle {self.angle_deg} deg; expected "
                "at least 8 voxels an axis, sizes above 0 and an angle between 0 and 90",
            )

    @property
    def shear(self) -> float:
        """Shift along x from one raw plane to the next, in x voxels: cos(angle) dz / dx."""
        step, _, pixel = self.voxel_size_um
        return math.cos(math.radians(self.angle_deg)) * step / pixel

    @property
    def deskewed_shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of the upright volume, of cudaDecon's width: floor(nx + shear nz)."""
        nz, ny, nx = self.shape
        return nz, ny, math.floor(nx + self.shear * nz)

    @property
    def deskewed_voxel_size_um(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) of the upright volume; its planes are dz sin(angle) apart."""
        step, y, x = self.voxel_size_um
        return step * math.sin(math.radians(self.angle_deg)), y, x

    def raw_x(self, x: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw x index that shows the upright x index at plane `z`, by cudaDecon's convention.

        x_raw = (x - NX/2) - shear (z - nz/2) + nx/2, which its own output confirms to one grey level.
        """
        return x - self._centre_shift(z)

    def upright_x(self, x: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Upright x index of the raw index `x` at plane `z`: the inverse of `raw_x`."""
        return x + self._centre_shift(z)

    def _centre_shift(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        nz, _, nx = self.shape
        return (self.deskewed_shape[2] - nx) / 2 + self.shear * (z - nz / 2)


@dataclass(frozen=True)
class Vesicles:
    """How many vesicles a series has and how they move; lengths in micrometres, times in seconds.

    Every third vesicle is confined, directed or Brownian. A fifth of them appear late or vanish early.
    """

    count: int = 24
    photons: float = 350.0
    photons_spread: float = 0.25
    speed_um_s: float = 0.35
    directed_diffusion_um2_s: float = 0.002
    diffusion_um2_s: float = 0.02
    confinement_um: float = 0.15
    confinement_time_s: float = 1.0
    min_separation_um: float = 1.2
    transient_fraction: float = 0.2


@dataclass(frozen=True)
class Truth:
    """Where every vesicle of one series is, in the upright (deskewed) frame.

    Parameters
    ----------
    particle_id, frame
        Integers, one per position; ids are unique over all series of a data set.
    position_um
        Shape (n, 3), z, y, x in micrometres: upright voxel index times upright voxel size.
    photons
        Expected photons at the peak voxel.
    motion
        Index into `MOTIONS`.
    """

    particle_id: NDArray[np.int64]
    frame: NDArray[np.int64]
    position_um: NDArray[np.float64]
    photons: NDArray[np.float64]
    motion: NDArray[np.int64]


@dataclass(frozen=True)
class LlsmDataset:
    """What `generate_llsm` wrote: image files by series in order of time, PSF, truth, and the microscope."""

    folder: Path
    images: dict[str, list[Path]]
    psf: Path
    truth: Path
    microscope: Microscope = field(repr=False)
    truths: dict[str, Truth] = field(repr=False)


def generate_llsm(
    folder: Path,
    *,
    seed: int = 0,
    series: int = 2,
    frames: int = 8,
    microscope: Microscope | None = None,
    vesicles: Vesicles | None = None,
    layout: Literal["files", "single"] = "files",
    metadata: Literal["imagej", "bare"] = "imagej",
) -> LlsmDataset:
    """Write a time-lapse of moving vesicles as a lattice light-sheet microscope with a stage scan would.

    The files are ``raw/<series>_ch0_stack0000.tif`` and so on, ``psf.tif`` and ``truth.csv``; the same
    arguments give the same bytes.

    Parameters
    ----------
    folder
        Created if needed; files of these names in it are replaced.
    seed
        Of every random number.
    series, frames
        How many cells, named cell1, cell2, ..., and how many time points each.
    microscope, vesicles
        Geometry, optics and camera; number, brightness and movement. None for the defaults.
    layout
        ``files``: one zyx file per time point. ``single``: one tzyx file ``raw/<series>_ch0.tif`` per series.
    metadata
        ``imagej``: voxel sizes and time step in the file. ``bare``: pixels only, as many microscopes write.

    Returns
    -------
    The paths written, the microscope, and the truth of each series.
    """
    if series < 1 or frames < 1:
        raise problem("generate_llsm", f"series {series}, frames {frames}; expected at least 1 of each")
    scope, moving = microscope or Microscope(), vesicles or Vesicles()
    raw = folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    truths: dict[str, Truth] = {}
    images: dict[str, list[Path]] = {}
    for index in range(series):
        name = f"cell{index + 1}"
        motion_rng, camera_rng = (np.random.default_rng((seed, index, part)) for part in (0, 1))
        truth = simulate_motion(scope, moving, frames, motion_rng, first_id=index * moving.count)
        stacks = (expose(scope, truth, frame, camera_rng) for frame in range(frames))
        truths[name] = truth
        if layout == "files":
            images[name] = [raw / f"{name}_ch0_stack{frame:04d}.tif" for frame in range(frames)]
            for path, stack in zip(images[name], stacks, strict=True):
                write_tiff(path, stack, scope.voxel_size_um, scope.time_step_s, bare=metadata == "bare")
        else:
            images[name] = [raw / f"{name}_ch0.tif"]
            movie = np.stack(list(stacks))
            write_tiff(images[name][0], movie, scope.voxel_size_um, scope.time_step_s, bare=metadata == "bare")
    psf_path, truth_path = folder / "psf.tif", folder / "truth.csv"
    psf, psf_voxel_size_um = sample_psf(scope)
    write_tiff(psf_path, psf, psf_voxel_size_um, None)
    write_truth(truth_path, truths, scope.time_step_s)
    return LlsmDataset(folder, images, psf_path, truth_path, scope, truths)


def simulate_motion(
    scope: Microscope, vesicles: Vesicles, frames: int, rng: np.random.Generator, *, first_id: int = 0
) -> Truth:
    """Move the vesicles of one series from frame to frame, inside the scanned volume.

    Brownian steps are normal with variance 2 D dt along each axis. Confined vesicles follow an
    Ornstein-Uhlenbeck process around their starting point, sampled exactly (Uhlenbeck & Ornstein 1930,
    doi:10.1103/PhysRev.36.823). Directed ones keep a velocity and turn back at the border.
    """
    count, step_s = vesicles.count, scope.time_step_s
    motion = np.arange(count) % len(MOTIONS)
    confined, directed = motion == 0, motion == 1
    anchor = _place_apart(scope, count, vesicles.min_separation_um, rng)
    direction = rng.normal(size=(count, 3))
    velocity = vesicles.speed_um_s * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    velocity[~directed] = 0.0
    diffusion = np.where(directed, vesicles.directed_diffusion_um2_s, vesicles.diffusion_um2_s)
    memory = math.exp(-step_s / vesicles.confinement_time_s)
    spread = vesicles.confinement_um * math.sqrt(1 - memory**2)

    track = np.empty((frames, count, 3))
    track[0] = anchor
    for frame in range(1, frames):
        noise = rng.normal(size=(count, 3))
        free = track[frame - 1] + velocity * step_s + np.sqrt(2 * diffusion * step_s)[:, None] * noise
        bound = anchor + memory * (track[frame - 1] - anchor) + spread * noise
        track[frame], turned = _keep_inside(scope, np.where(confined[:, None], bound, free))
        velocity = np.where(turned, -velocity, velocity)

    alive = _lifetimes(count, frames, vesicles.transient_fraction, rng)
    photons = vesicles.photons * np.exp(vesicles.photons_spread * rng.normal(size=count))
    particle, frame_index = np.nonzero(alive)
    return Truth(
        particle_id=(particle + first_id).astype(np.int64),
        frame=frame_index.astype(np.int64),
        position_um=track[frame_index, particle],
        photons=photons[particle],
        motion=motion[particle].astype(np.int64),
    )


def expose(scope: Microscope, truth: Truth, frame: int, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Image one time point: expected photons, shot noise, read noise, camera offset.

    Returns
    -------
    The sheared raw stack, shape (z, y, x), uint16 grey levels.
    """
    here = truth.frame == frame
    light = expected_photons(scope, truth.position_um[here], truth.photons[here]) + scope.haze
    grey = scope.offset + rng.poisson(light) + rng.normal(scale=scope.read_noise, size=light.shape)
    return np.clip(np.rint(grey), 0, np.iinfo(np.uint16).max).astype(np.uint16)


def expected_photons(
    scope: Microscope, position_um: NDArray[np.float64], photons: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sample the blurred vesicles at the places where the raw stack's voxels lie.

    Parameters
    ----------
    scope
        Its shear puts raw voxel (z, y, x) at the upright place `Microscope.upright_x` says.
    position_um
        Shape (n, 3), upright z, y, x; need not fall on voxels.
    photons
        Shape (n,), at the peak of each.

    Returns
    -------
    Shape (z, y, x) of the raw stack; the sum of one point spread function per vesicle.
    """
    nz, ny, nx = scope.shape
    dz, dy, dx = scope.deskewed_voxel_size_um
    z, y, x = np.arange(nz, dtype=float), np.arange(ny, dtype=float), np.arange(nx, dtype=float)
    upright_x_um = scope.upright_x(x[None, :], z[:, None]) * dx
    reach_z = 4.5 * scope.psf_sigma_um[0] + (scope.side_lobe_um if scope.side_lobe else 0.0)
    reach_y = 4.5 * scope.psf_sigma_um[1]
    light = np.zeros(scope.shape)
    for (at_z, at_y, at_x), peak in zip(position_um, photons, strict=True):
        zs, ys = _window(at_z, reach_z, dz, nz), _window(at_y, reach_y, dy, ny)
        along_z = axial_profile(scope, z[zs] * dz - at_z)
        along_y = _gauss(y[ys] * dy - at_y, scope.psf_sigma_um[1])
        along_x = _gauss(upright_x_um[zs] - at_x, scope.psf_sigma_um[2])
        light[zs, ys] += peak * along_z[:, None, None] * along_y[None, :, None] * along_x[:, None, :]
    return light


def axial_profile(scope: Microscope, z_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light along z at a distance `z_um` from the focus, 1 at the focus of a PSF without side lobes."""
    sigma = scope.psf_sigma_um[0]
    lobes = sum(_gauss(z_um - sign * scope.side_lobe_um, sigma) for sign in (-1, 1))
    return np.asarray(_gauss(z_um, sigma) + scope.side_lobe * lobes)


def sample_psf(scope: Microscope, spacing_um: float = 0.1) -> tuple[NDArray[np.uint16], tuple[float, float, float]]:
    """Sample the point spread function as a bead stack with its own z spacing, without background.

    Returns
    -------
    Shape (z, y, x), odd along each axis, the peak in the middle voxel, uint16 with a peak near 60000;
    and its voxel size (z, y, x) in micrometres. Its y and x pixel is the raw stack's.
    """
    voxel_um = (spacing_um, *scope.voxel_size_um[1:])
    reach_um = [4 * sigma for sigma in scope.psf_sigma_um]
    reach_um[0] += scope.side_lobe_um if scope.side_lobe else 0.0
    counts = [math.ceil(reach / voxel) for reach, voxel in zip(reach_um, voxel_um, strict=True)]
    z, y, x = (np.arange(-n, n + 1, dtype=float) * v for n, v in zip(counts, voxel_um, strict=True))
    lateral = _gauss(y, scope.psf_sigma_um[1])[:, None] * _gauss(x, scope.psf_sigma_um[2])[None, :]
    psf = axial_profile(scope, z)[:, None, None] * lateral
    return np.rint(60000 * psf / psf.max()).astype(np.uint16), voxel_um


def write_tiff(
    path: Path,
    pixels: NDArray[np.uint16],
    voxel_size_um: Sequence[float],
    time_step_s: float | None,
    *,
    bare: bool = False,
) -> None:
    """Write a zyx or tzyx stack as an ImageJ TIFF with its sizes, or bare. No date goes into the file."""
    import tifffile

    if bare:
        tifffile.imwrite(path, pixels, photometric="minisblack", metadata=None, software=False)
        return
    z_um, y_um, x_um = voxel_size_um
    about: dict[str, object] = {"axes": "ZYX" if pixels.ndim == 3 else "TZYX", "spacing": z_um, "unit": "um"}
    if time_step_s is not None:
        about["finterval"] = time_step_s
    tifffile.imwrite(path, pixels, imagej=True, resolution=(1 / x_um, 1 / y_um), metadata=about)


def write_truth(path: Path, truths: dict[str, Truth], time_step_s: float) -> None:
    """Write the true positions of all series, ordered by series, particle and frame; lengths to 0.1 nm."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(TRUTH_COLUMNS)
        for name, truth in truths.items():
            for index, frame in enumerate(truth.frame.tolist()):
                place = [f"{value:.4f}" for value in truth.position_um[index]]
                start = [name, int(truth.particle_id[index]), frame, f"{frame * time_step_s:g}"]
                rows.writerow([*start, *place, MOTIONS[truth.motion[index]], f"{truth.photons[index]:.1f}"])


def _gauss(distance: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * (distance / sigma) ** 2))


def _window(centre_um: float, reach_um: float, voxel_um: float, size: int) -> slice:
    first = math.floor((centre_um - reach_um) / voxel_um)
    last = math.ceil((centre_um + reach_um) / voxel_um)
    return slice(max(first, 0), min(max(last + 1, 0), size))


def _margins(scope: Microscope) -> NDArray[np.float64]:
    """Voxels (z, y, x) to keep free at the border so that main lobes are not cut, at most a quarter of an axis."""
    free = 4 * np.array(scope.psf_sigma_um) / np.array(scope.deskewed_voxel_size_um)
    return np.asarray(np.minimum(free, np.array(scope.shape) / 4))


def _fold(value: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Reflect values at both ends of [low, high] as often as needed."""
    width = high - low
    phase = np.mod(value - low, 2 * width)
    return np.asarray(low + np.where(phase > width, 2 * width - phase, phase))


def _keep_inside(scope: Microscope, position_um: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Reflect upright positions (n, 3) at the borders of the sheared volume; also say which axes turned."""
    voxel = np.array(scope.deskewed_voxel_size_um)
    place = position_um / voxel
    margin = _margins(scope)
    inside = np.empty_like(place)
    for axis in (0, 1):
        inside[:, axis] = _fold(place[:, axis], margin[axis], scope.shape[axis] - 1 - margin[axis])
    raw = scope.raw_x(place[:, 2], inside[:, 0])
    kept = _fold(raw, margin[2], scope.shape[2] - 1 - margin[2])
    inside[:, 2] = scope.upright_x(kept, inside[:, 0])
    turned = np.stack([inside[:, 0] != place[:, 0], inside[:, 1] != place[:, 1], kept != raw], axis=1)
    return inside * voxel, turned


def _place_apart(scope: Microscope, count: int, apart_um: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw starting points (count, 3) at least `apart_um` from each other, nearer where there is no room."""
    margin, voxel = _margins(scope), np.array(scope.deskewed_voxel_size_um)
    placed = np.empty((0, 3))
    while len(placed) < count:
        for _ in range(200):
            raw = margin + rng.random(3) * (np.array(scope.shape) - 1 - 2 * margin)
            upright = np.array([raw[0], raw[1], scope.upright_x(raw[2], raw[0])]) * voxel
            if not len(placed) or np.linalg.norm(placed - upright, axis=1).min() >= apart_um:
                placed = np.vstack([placed, upright])
                break
        else:
            apart_um *= 0.8
    return placed


def _lifetimes(count: int, frames: int, transient: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Say at which frames (count, frames) each vesicle is there; the last ones appear late or vanish early."""
    alive = np.ones((count, frames), dtype=bool)
    if frames < 4:
        return alive
    for turn, particle in enumerate(range(count - round(transient * count), count)):
        cut = int(rng.integers(2, frames - 1))
        if turn % 2:
            alive[particle, :cut] = False
        else:
            alive[particle, cut:] = False
    return alive
