"""Reading and writing frames: :func:`read_frame` and :func:`write_frame`."""

from labsem.frames.errors import (
    EmptyFrameError,
    FrameError,
    FrameTooLargeError,
    InvalidFrameError,
    MissingFrameError,
    TruncatedFrameError,
    UnsupportedFrameError,
)
from labsem.frames.files import FRAME_SUFFIXES, find_frames, sha256_of_file, sidecar_path, write_atomically
from labsem.frames.model import DISPLAY_WIDTH_M, Frame, FrameMetadata, ReadLimits
from labsem.frames.read import complete_scale, read_frame
from labsem.frames.write import write_frame

__all__ = [
    "DISPLAY_WIDTH_M",
    "FRAME_SUFFIXES",
    "EmptyFrameError",
    "Frame",
    "FrameError",
    "FrameMetadata",
    "FrameTooLargeError",
    "InvalidFrameError",
    "MissingFrameError",
    "ReadLimits",
    "TruncatedFrameError",
    "UnsupportedFrameError",
    "complete_scale",
    "find_frames",
    "read_frame",
    "sha256_of_file",
    "sidecar_path",
    "write_atomically",
    "write_frame",
]
