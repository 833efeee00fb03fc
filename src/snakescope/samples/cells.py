"""What one cell of the sheet may say: ids, paths, numbers with their unit in the column's name.

Each ``parse_*`` turns the text of a cell into a value or raises `CellError`; an empty cell is unknown and
is not given to them. Nothing here knows of rows, lines or files.
"""

from __future__ import annotations

import re

AXES = "tczyx"
MAX_ID = 120
# What a path begins with that lies in iRODS; `zone.address` reads the rest.
REMOTE = "irods://"
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)

# Patterns below that are kept as text are compiled at their first use: imports stay short.
# Tab, line ends, other control characters, Unicode line separators, and what is left of undecodable bytes.
UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[A-Za-z]:[\\/]|\\\\")

_TO_UM = {"pm": 1e-6, "nm": 1e-3, "um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
_TO_S = {"ms": 1e-3, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}

VoxelSize = tuple[float | None, float | None, float | None]


class CellError(ValueError):
    """One cell that cannot be accepted: what was found and expected, and what to do."""

    def __init__(self, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


def check_id(text: str) -> str:
    """Return `text` if it can name a folder everywhere; ids and group names become folder names."""
    if not _ID.fullmatch(text) or ".." in text:
        raise CellError(
            f"found {text!r}; expected letters, digits and . _ - only, a letter or digit first, and no '..'",
            "It becomes the name of a folder; rename it.",
        )
    if len(text) > MAX_ID:
        raise CellError(f"found {len(text)} characters ({text[:20]!r}...); expected at most {MAX_ID}")
    return text


def parse_path(text: str) -> str:
    """Accept a file's path, relative to the study folder or absolute, or an address in iRODS, as it is written.

    ``..`` is allowed: the path is a file that is read, never a folder that is made. Whether the file exists is
    not looked at here, since every job of a workflow parses the sheet.
    """
    if text.startswith(REMOTE):
        return text
    if _ELSEWHERE.match(text):
        found = f"found {text!r}; expected a path on this machine, relative to the study folder or from /"
        raise CellError(f"{found}, or an address in iRODS ({REMOTE}/zone/...)")
    if text == "~" or text.startswith("~/"):
        raise CellError(f"found {text!r}; '~' is not expanded in a sheet", "Write the full path.")
    if text[-1:] in ("/", ".", "") and text.rstrip("/").rpartition("/")[2] in ("", ".", ".."):
        raise CellError(f"found {text!r}; expected the path of an image file or of a .zarr folder")
    return text


def parse_number(text: str, unit: str, factors: dict[str, float]) -> float:
    """Read a number above 0; a unit in the text is refused, with the number to write in its place."""
    text = text.strip()
    if re.fullmatch(_NUMBER, text):
        value = float(text)
        if 0 < value < float("inf"):
            return value
        raise CellError(f"found {text}; expected a number above 0 ({unit})", "Leave it empty when it is unknown.")
    quantity = re.fullmatch(rf"({_NUMBER})\s*([A-Za-zµμ]+)", text)
    if quantity:
        factor = factors.get(quantity[2]) or factors.get(quantity[2].lower())
        if factor and float(quantity[1]) > 0:
            plain = format_number(float(f"{float(quantity[1]) * factor:.12g}"))
            raise CellError(f"found {text!r}; expected a number without a unit ({unit})", f"Write {plain}.")
    raise CellError(f"found {text!r}; expected a number ({unit}) with a decimal point and without a unit")


def parse_voxel_size(text: str) -> VoxelSize:
    """Read ``z,y,x`` in micrometres; an empty part is unknown, or there is no such axis (``,0.1,0.1``)."""
    parts = text.split(",")
    if len(parts) != 3:
        try:
            parse_number(text, "µm", _TO_UM)  # one number with a unit: say what is wrong with that first
        except CellError as error:
            if error.fix and len(parts) == 1:
                raise CellError(error.message, f"{error.fix} Three numbers are needed: z,y,x.") from None
        raise CellError(
            f"found {text!r}; expected three numbers in µm, z,y,x, with decimal points and commas between",
            "For example 0.3,0.1,0.1 or, for a flat image, ,0.1,0.1.",
        )
    z, y, x = (parse_number(part, "µm", _TO_UM) if part.strip() else None for part in parts)
    return z, y, x


def parse_time_step(text: str) -> float:
    """Read seconds between frames."""
    return parse_number(text, "s", _TO_S)


def parse_count(text: str) -> int:
    """Read a whole number from 0."""
    digits = text.strip()
    if not _is_count(digits):
        raise CellError(f"found {text[:40]!r}; expected a whole number, 0 or more")
    return int(digits)


def _is_count(text: str) -> bool:
    return text.isdigit() and text.isascii() and len(text) < 19


def parse_axes(text: str) -> str:
    """Read axes: some of ``tczyx``, in that order, y and x always among them."""
    if "yx" not in text or text != "".join(axis for axis in AXES if axis in text):
        raise CellError(f"found {text!r}; expected letters of 'tczyx' in that order, with y and x, such as zyx")
    return text


def parse_shape(text: str, axes: str | None) -> tuple[int, ...]:
    """Read one whole number above 0 for each of `axes`, joined by commas."""
    sizes = tuple(int(part) if _is_count(part.strip()) else 0 for part in text.split(","))
    if not min(sizes):
        raise CellError(f"found {text!r}; expected whole numbers above 0 joined by commas, such as 88,320,256")
    if axes is None:
        raise CellError(f"found {text!r} without axes; expected axes beside it", "Fill axes, or empty shape.")
    if len(sizes) != len(axes):
        raise CellError(f"found {len(sizes)} numbers ({text}); expected {len(axes)}, one for each axis of {axes!r}")
    return sizes


def parse_dtype(text: str) -> str:
    """Read a numpy name of a number type."""
    if text not in DTYPES:
        raise CellError(f"found {text!r}; expected a numpy name such as uint8, uint16 or float32")
    return text


def parse_channels(text: str) -> tuple[str, ...]:
    """Read channel names joined by ``;``."""
    names = tuple(name.strip() for name in text.split(";"))
    if not all(names):
        raise CellError(f"found {text!r}; expected channel names joined by ';', none of them empty")
    return names


def parse_sha256(text: str) -> str:
    """Read a SHA-256 digest as 64 hexadecimal digits."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise CellError(f"found {text[:80]!r}; expected a SHA-256 digest, 64 hexadecimal digits")
    return text.lower()


def parse_sensitive(text: str) -> bool:
    """Read ``true`` or ``false``, in the capitals of a spreadsheet too."""
    if text.lower() not in ("true", "false"):
        raise CellError(f"found {text!r}; expected true or false", "Rows marked true are never exported.")
    return text.lower() == "true"


def format_number(value: float) -> str:
    """Write a number so that reading gives the same one: ``0.1``, ``2`` (not ``2.0``)."""
    text = repr(float(value))
    return text.removesuffix(".0")


def format_voxel_size(voxel_size_um: VoxelSize) -> str:
    """Write ``z,y,x``; an unknown part is empty, and so is the whole when nothing is known."""
    if voxel_size_um == (None, None, None):
        return ""
    return ",".join("" if value is None else format_number(value) for value in voxel_size_um)


def natural_key(text: str) -> tuple[list[str | int], str]:
    """Sort key that puts ``t2`` before ``t10``."""
    parts = re.split("([0-9]+)", text.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], text
