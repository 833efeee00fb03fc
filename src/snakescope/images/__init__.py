"""Read microscopy images of any format, one volume at a time, and write OME-Zarr.

Importing this package imports numpy only; tifffile, zarr and the vendors' readers follow when a file needs them.
"""

from snakescope.images.acquisition import Acquisition, ChannelFacts, read_acquisition
from snakescope.images.header import AXES, ImageHeader, disagreements
from snakescope.images.image import (
    Image,
    StackAxis,
    open_image,
    read_headers,
    read_json_headers,
    read_stream_headers,
)
from snakescope.images.ome_zarr import StoreAxis, store_axes, unit_problem
from snakescope.images.write import ImageWriter, create_image, store_image

__all__ = [
    "AXES",
    "Acquisition",
    "ChannelFacts",
    "Image",
    "ImageHeader",
    "ImageWriter",
    "StackAxis",
    "StoreAxis",
    "create_image",
    "disagreements",
    "open_image",
    "read_acquisition",
    "read_headers",
    "read_json_headers",
    "read_stream_headers",
    "store_axes",
    "store_image",
    "unit_problem",
]
