"""Accounts of instruments: from the environment or from a file that only its owner can read."""

from __future__ import annotations

import os
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from drivers.errors import LicenceError


@dataclass(frozen=True)
class Credentials:
    """A user's name and password; the password never shows in messages."""

    user: str
    password: str = field(repr=False)


def read_credentials(device: str, prefix: str, file: str = "") -> Credentials | None:
    """Credentials of ``PREFIX_USER`` and ``PREFIX_PASSWORD``, else of a file, else none.

    Parameters
    ----------
    file
        TOML with ``user`` and ``password``. On POSIX others must not be able to read it; on Windows, where
        permissions are not told by a mode, keep it in the service account's own profile.

    Raises
    ------
    LicenceError
        Where the file is missing, unreadable, readable by others, or lacks one of the two; or where only one
        variable is set.
    """
    user, password = (os.environ.get(f"{prefix}_{name}") for name in ("USER", "PASSWORD"))
    if user is not None and password is not None:
        return Credentials(user, password)
    if user is not None or password is not None:
        raise LicenceError(
            device, "connect", f"set both {prefix}_USER and {prefix}_PASSWORD, or give a credentials_file"
        )
    if not file:
        return None
    path = Path(file)
    try:
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise LicenceError(device, "connect", f"{path} can be read by others; chmod 600 it")
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        return Credentials(str(told["user"]), str(told["password"]))
    except OSError as error:
        raise LicenceError(device, "connect", f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError) as error:
        # The words of a parser may hold part of the password.
        raise LicenceError(
            device,
            "connect",
            f'{path} needs the lines user = "…" and password = "…" ({type(error).__name__})',
        ) from None
