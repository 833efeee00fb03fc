"""Time, memory and accuracy of `deconvolve` against its FFT floor and against other CPU libraries.

The floor is four real FFTs (two forward, two back) of the program's own grid, scipy.fft, same process, same number
of threads: what a Richardson-Lucy iteration cannot do without. Every program runs in its own process, on the same
background-free image; the libraries get the same PSF stack, and as many threads through `scipy.fft.set_workers`
and torch's own setting. Time per iteration is the slope between two runs (the fastest of each), so preparation
does not count; `once` is one whole run. On a busy machine trust the ratio of processor times. Memory in volumes is
the peak without the bare interpreter, libraries and prepared PSF included.

With the lattice light-sheet set (`--data`, else SNAKESCOPE_SHARED_DATA, else ../shared/data) the reference is
cudaDecon's own output; without it a synthetic stack with known truth is used.

    .venv/bin/python benchmarks/deconvolve.py --peer-python /path/to/other/venv/bin/python
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

ROOT = Path(__file__).resolve().parents[1]
Array = NDArray[Any]
Run = Callable[[int], Array]
OURS = ("snakescope", "snakescope periodic", "snakescope plain", "snakescope periodic plain, PSF stack")
PEERS = {
    "scikit-image": ("skimage", "pip install scikit-image"),
    "redlionfish": ("RedLionfishDeconv", "pip install redlionfish"),
    "sdeconv": ("sdeconv", "pip install torch && pip install --no-deps sdeconv (torchvision is stubbed here)"),
}
VOXEL_UM = (0.3, 0.1, 0.1)
BORDER = 20


def our_run(name: str, folder: Path, threads: int) -> tuple[Run, tuple[int, ...]]:
    """Prepare one of OURS; returns the iterations as a function and the size of the transform."""
    sys.path.insert(0, str(ROOT / "scripts"))
    program, psf_module = importlib.import_module("deconvolve"), importlib.import_module("psf")
    image = np.load(folder / "image.npy")
    use_stack = "stack" in name or not (folder / "otf.npy").exists()
    array = np.load(folder / ("psf.npy" if use_stack else "otf.npy"))
    psf = psf_module.load_psf(array, VOXEL_UM if use_stack else (0.1,) * 3, background=0 if use_stack else None)
    edges = "periodic" if "periodic" in name else "padded"
    blur, frame = program.prepare(image.shape, VOXEL_UM, psf, edges=edges, threads=threads)

    def run(iterations: int) -> Array:
        accelerated = "plain" not in name
        result: Array = program.deconvolve_volume(image, blur, frame, iterations=iterations, accelerated=accelerated)
        return result

    return run, blur.shape


def peer_run(name: str, folder: Path, threads: int) -> tuple[Run, tuple[int, ...]]:
    """Prepare one of PEERS with the guards it needs (see research: odd PSF sizes, no clipping, epsilon)."""
    image, psf = np.load(folder / "image.npy"), np.load(folder / "psf.npy")
    grid = tuple(fft.next_fast_len(n, real=True) for n in image.shape)
    if name == "scikit-image":
        restoration = importlib.import_module("skimage.restoration")
        options = {"clip": False, "filter_epsilon": 1e-6}
        return lambda n: restoration.richardson_lucy(image, psf, num_iter=n, **options), grid
    if name == "redlionfish":
        redlionfish = importlib.import_module("RedLionfishDeconv").doRLDeconvolutionFromNpArrays
        even = np.pad(psf, [(1, 0) if n % 2 else (0, 0) for n in psf.shape])  # odd sizes shift its result
        return lambda n: redlionfish(image, even, niter=n, method="cpu"), grid
    vision, transforms = types.ModuleType("torchvision"), types.ModuleType("torchvision.transforms")
    transforms.__dict__["v2"] = types.SimpleNamespace()
    sys.modules.update({"torchvision": vision, "torchvision.transforms": transforms})
    torch, sdeconv = importlib.import_module("torch"), importlib.import_module("sdeconv.deconv")
    torch.set_num_threads(threads)
    full = np.zeros_like(image)
    corner = [n // 2 - m // 2 for n, m in zip(image.shape, psf.shape, strict=True)]
    full[tuple(slice(c, c + m) for c, m in zip(corner, psf.shape, strict=True))] = psf
    light, kernel = torch.from_numpy(np.maximum(image, 0.01)), torch.from_numpy(full)  # it divides 0 by 0
    return lambda n: sdeconv.SRichardsonLucy(kernel, n, 0)(light).numpy(), grid


def worker(name: str, folder: Path, iterations: int, repeats: int, threads: int) -> None:
    """Measure one program in this process; the result goes to stdout as JSON, the image to a file."""
    before = _peak_kb()
    run, grid = (our_run if name in OURS else peer_run)(name, folder, threads)
    with fft.set_workers(threads):
        once = _seconds(lambda: np.save(folder / "result.npy", run(iterations)))
        peak = _peak_kb()
        short, long = 2, 2 + iterations
        times: dict[str, list[tuple[float, float]]] = {"floor": [], "short": [], "long": []}
        for _ in range(repeats):  # in turn, so that all meet the same load; the fastest of each counts
            times["floor"] += [_seconds(lambda: _floor(grid)) for _ in range(3)]
            times["short"].append(_seconds(lambda: run(short)))
            times["long"].append(_seconds(lambda: run(long)))
    best = {what: [min(column) for column in zip(*pairs, strict=True)] for what, pairs in times.items()}
    wall, cpu = ((best["long"][i] - best["short"][i]) / iterations for i in (0, 1))
    result = {
        "once_s": once[0],
        "iteration_s": wall,
        "iteration_cpu_s": cpu,
        "floor_s": best["floor"][0],
        "ratio": wall / best["floor"][0],
        "ratio_cpu": cpu / best["floor"][1],
        "grid": list(grid),
        "peak_mb": peak / 1024,
        "extra_mb": (peak - before) / 1024,
    }
    print(json.dumps(result))


def _seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and processor seconds; a function that returns seconds itself has left its preparation out."""
    wall, cpu = time.perf_counter(), time.process_time()
    own = work()
    return own if isinstance(own, tuple) else (time.perf_counter() - wall, time.process_time() - cpu)


def _peak_kb() -> int:
    """Highest memory of this process; Linux counts it anew after exec, unlike `ru_maxrss`."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _floor(grid: tuple[int, ...]) -> tuple[float, float]:
    """Seconds for the four real FFTs of one iteration."""
    image = np.random.default_rng(0).random(grid, dtype=np.float32)

    def transforms() -> None:
        for _ in range(2):
            fft.irfftn(fft.rfftn(image), s=grid)

    return _seconds(transforms)


def real_set(data: Path, folder: Path) -> str:
    """Write the lattice light-sheet stack, its OTF, a PSF stack made from it, and cudaDecon's result."""
    sys.path.insert(0, str(ROOT / "scripts"))
    import tifffile

    psf_module = importlib.import_module("psf")
    source = data / "llsm_cudadecon"
    image = tifffile.imread(source / "im_deskewed.tif").astype(np.float32) - 98
    otf = tifffile.imread(source / "otf.tif")
    grid = (64, 128, 128)
    sampled = psf_module.transfer_function(psf_module.load_psf(otf, (0.1, 0.1, 0.1)), grid, VOXEL_UM)
    whole = fft.fftshift(fft.irfftn(sampled, s=grid))
    psf = np.maximum(whole[22:43, 32:97, 32:97], 0)  # 21 x 65 x 65, the peak in the middle
    np.save(folder / "image.npy", np.maximum(image, 0))
    np.save(folder / "otf.npy", otf)
    np.save(folder / "psf.npy", (psf / psf.sum()).astype(np.float32))
    np.save(folder / "reference.npy", tifffile.imread(source / "im_decon.tif"))
    return "lattice light-sheet stack; reference: cudaDecon's output"


def synthetic_set(folder: Path) -> str:
    """Write points and fibres of known brightness, blurred, with Poisson noise; the reference is the truth."""
    rng = np.random.default_rng(3)
    shape = (64, 256, 256)
    truth = np.zeros(shape, np.float32)
    truth[tuple(rng.integers(10, np.array(shape)[:, None] - 10, (3, 400)))] = rng.uniform(2e3, 2e4, 400)
    for _ in range(25):
        start, step = rng.uniform(20, 200, 3) * (0.2, 1, 1), rng.normal(0, 1, 3) * (0.2, 1, 1)
        line = np.rint(start + np.arange(150)[:, None] * step / np.linalg.norm(step)).astype(int)
        line = line[((line >= 8) & (line < np.array(shape) - 8)).all(axis=1)]
        truth[tuple(line.T)] = 3e3
    z, y, x = np.ogrid[-10:11, -16:17, -16:17]
    psf = np.exp(-0.5 * ((z / 2.2) ** 2 + (y / 1.6) ** 2 + (x / 1.6) ** 2))
    psf = (psf / psf.sum()).astype(np.float32)
    wide = np.zeros(shape)
    wide[:21, :33, :33] = psf
    kernel = fft.rfftn(np.roll(wide, (-10, -16, -16), (0, 1, 2)))
    blurred = fft.irfftn(fft.rfftn(truth) * kernel, s=shape)
    np.save(folder / "image.npy", rng.poisson(np.maximum(blurred, 0)).astype(np.float32))
    np.save(folder / "psf.npy", psf)
    np.save(folder / "reference.npy", truth)
    return "synthetic points and fibres; reference: the truth"


def score(folder: Path) -> tuple[float, float]:
    """NCC and PSNR (dB, over the reference's range) of the result, inside a border of 20 voxels (less if small)."""
    reference = np.load(folder / "reference.npy").astype(np.float64)
    result = np.load(folder / "result.npy").astype(np.float64)[tuple(slice(n) for n in reference.shape)]
    inside = tuple(slice(min(BORDER, n // 4), n - min(BORDER, n // 4)) for n in reference.shape)
    found, wanted = result[inside], reference[inside]
    error = float(np.sqrt(np.mean((found - wanted) ** 2)))
    return float(np.corrcoef(found.ravel(), wanted.ravel())[0, 1]), float(20 * np.log10(np.ptp(wanted) / error))


def find_python(module: str, candidates: list[str]) -> str | None:
    """First interpreter that has a module (found, not imported)."""
    probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return next((p for p in candidates if subprocess.run([p, "-c", probe], check=False).returncode == 0), None)


def measure(name: str, python: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Run one program in its own process; `error` says why there are no numbers."""
    command = [python, __file__, "--worker", name, "--folder", str(folder), "--threads", str(args.threads)]
    command += ["--iterations", str(args.iterations), "--repeats", str(args.repeats)]
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(args.threads))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        return {"program": name, "error": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    ncc, psnr = score(folder)
    return {"program": name, **result, "ncc": ncc, "psnr_db": psnr}


def report(rows: list[dict[str, Any]], title: str, volume_mb: float) -> str:
    """Markdown table; everything is relative to the first row's time where a ratio to ours is given."""
    head = (
        "program",
        "s / iteration",
        "x floor",
        "in CPU s",
        "x ours",
        "once s",
        "peak MB",
        "volumes",
        "NCC",
        "PSNR dB",
    )
    lines = [f"{title}; one volume as float32: {volume_mb:.0f} MB", "", _line(*head, "grid"), _line(*["---"] * 11)]
    ours = rows[0].get("iteration_s", float("nan"))
    for row in rows:
        if "error" in row:
            lines.append(_line(row["program"], f"not measured: {row['error']}", *[""] * 9))
            continue
        times = (f"{row['iteration_s']:.3f}", f"{row['ratio']:.2f}", f"{row['ratio_cpu']:.2f}")
        memory = (f"{row['peak_mb']:.0f}", f"{row['extra_mb'] / volume_mb:.1f}")
        quality = (f"{row['ncc']:.6f}", f"{row['psnr_db']:.1f}", "x".join(map(str, row["grid"])))
        relative = (f"{row['iteration_s'] / ours:.2f}", f"{row['once_s']:.1f}")
        lines.append(_line(row["program"], *times, *relative, *memory, *quality))
    return "\n".join(lines)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder that holds llsm_cudadecon")
    parser.add_argument("--synthetic", action="store_true", help="use the synthetic stack even if the real one is here")
    parser.add_argument("--peer-python", action="append", default=[], help="interpreter that has other libraries")
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker, args.folder, args.iterations, args.repeats, args.threads)
        return
    data = args.data or Path(os.environ.get("SNAKESCOPE_SHARED_DATA", ROOT.parent / "shared" / "data"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        real = not args.synthetic and (data / "llsm_cudadecon").is_dir()
        title = real_set(data, folder) if real else synthetic_set(folder)
        rows = [measure(program, sys.executable, folder, args) for program in OURS]
        for program, (module, install) in PEERS.items():
            python = find_python(module, [sys.executable, *args.peer_python])
            missing = {"program": program, "error": f"not installed; {install}, then --peer-python"}
            rows.append(measure(program, python, folder, args) if python else missing)
        volume_mb = np.load(folder / "image.npy", mmap_mode="r").nbytes / 2**20
    print(report(rows, f"{title}; {args.iterations} iterations, {args.threads} thread(s)", volume_mb))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
