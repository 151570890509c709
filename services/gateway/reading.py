"""Frames' files for a daemon that shares no folder with this host."""

from __future__ import annotations

import base64
from pathlib import Path

from labsem.streams import RequestRefusedError
from schemas.requests import ErrorCode, ReadFrame, ReadFrameAnswer


class FrameReader:
    """Answers ``read_frame`` for one image root.

    Parameters
    ----------
    folder
        Of the image root; nothing outside it is read, not by a link either.
    """

    def __init__(self, folder: Path, image_root: str) -> None:
        self._folder, self._image_root = folder.resolve(), image_root

    def __call__(self, request: ReadFrame) -> ReadFrameAnswer:
        """A part of a file.

        Raises
        ------
        RequestRefusedError
            Where the image root is another's, or there is no such file.
        """
        named = f"{request.image_root}:{request.path}"
        if request.image_root != self._image_root:
            raise RequestRefusedError(
                ErrorCode.NOT_FOUND,
                f"{named} is not here; this gateway has the image root {self._image_root}",
            )
        path = (self._folder / request.path).resolve()
        if not path.is_relative_to(self._folder):
            raise RequestRefusedError(ErrorCode.REFUSED, f"{named} leads out of its image root")
        try:
            with path.open("rb") as file:
                size_bytes = file.seek(0, 2)
                file.seek(request.offset)
                data = file.read(request.length)
        except OSError as error:
            raise RequestRefusedError(
                ErrorCode.NOT_FOUND,
                f"{named} cannot be read: {error.strerror}; look for it on the gateway's host",
            ) from None
        return ReadFrameAnswer(data_base64=base64.b64encode(data).decode(), size_bytes=size_bytes)
