"""Put a finished folder in the place of an old one, so that a crash leaves the one or the other."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import socket
from pathlib import Path

from snakescope.errors import problem

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def building_site(final: Path) -> Path:
    """Make an empty folder beside `final` to build in; what dead builders of this machine have left is removed."""
    host = socket.gethostname()
    for left in final.parent.glob(f".{final.name}.{host}.*"):
        if not _alive(left.name.rpartition(".")[2]):
            shutil.rmtree(left, ignore_errors=True)
    site = final.with_name(f".{final.name}.{host}.{os.getpid()}")
    try:
        shutil.rmtree(site, ignore_errors=True)
        site.mkdir()
    except OSError as error:
        raise problem(final.parent, f"cannot be written ({error.strerror})") from error
    return site


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def previous(final: Path) -> Path:
    """Where the old folder stands for a moment on systems that cannot exchange two folders at once."""
    return final.with_name(f".{final.name}.previous")


def recover(final: Path) -> None:
    """Bring the old folder back if a crash came between its going and the new one's coming."""
    if not final.exists() and previous(final).is_dir():
        previous(final).rename(final)


def put_in_place(site: Path, final: Path) -> None:
    """Make `site` the folder `final`; what stood there is removed afterwards."""
    recover(final)
    if not final.exists():
        site.rename(final)
        return
    if _exchange(site, final):
        shutil.rmtree(site, ignore_errors=True)
        return
    old = previous(final)
    shutil.rmtree(old, ignore_errors=True)
    final.rename(old)
    site.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two folders in one step; False where the system cannot (not Linux, some network file systems)."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    if renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0:
        return True
    if ctypes.get_errno() in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(b))
