"""The sample sheet ``config/samples.tsv``: one row per image, read by every job, written whole or not at all.

It knows text and numbers only: no image, no folder listing and no workflow. Imports stay light, because each
cluster job parses the Snakefile, and with it this package.
"""

from snakescope.samples.cells import CellError, check_id, format_number, format_voxel_size, natural_key
from snakescope.samples.files import SheetError, build_sheet, read_sheet, sheet_text, write_sheet
from snakescope.samples.sheet import (
    FACT_COLUMNS,
    OPTIONAL_COLUMNS,
    ORDER_COLUMNS,
    STANDARD_COLUMNS,
    Row,
    Sheet,
)

__all__ = [
    "FACT_COLUMNS",
    "OPTIONAL_COLUMNS",
    "ORDER_COLUMNS",
    "STANDARD_COLUMNS",
    "CellError",
    "Row",
    "Sheet",
    "SheetError",
    "build_sheet",
    "check_id",
    "format_number",
    "format_voxel_size",
    "natural_key",
    "read_sheet",
    "sheet_text",
    "write_sheet",
]
