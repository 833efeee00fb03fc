"""Parts of data objects, and tasks in a few sessions."""

from __future__ import annotations

import io
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from irods_zone import Zone
from snakescope.errors import EnvironmentUnusableError
from snakescope.images import read_stream_headers
from snakescope.zone import reading
from snakescope.zone.address import Address
from snakescope.zone.reading import BLOCK, RemoteFile, ScatteredError, in_sessions, read_object
from snakescope.zone.session import Session

pytestmark = [pytest.mark.irods, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]
READ = 675


def test_any_part_is_read_as_it_is(zone: Zone, session: Session) -> None:
    content = random.Random(1).randbytes(5 * BLOCK + 123)
    zone.put(f"{zone.home}/a", content)
    dice = random.Random(2)
    with RemoteFile(session, f"{zone.home}/a", len(content)) as file, io.BufferedReader(file, BLOCK) as buffered:
        for _ in range(50):
            start, size = dice.randrange(len(content) + 10), dice.randrange(3 * BLOCK)
            buffered.seek(start)
            assert buffered.read(size) == content[start : start + size]
        assert buffered.seek(-3, os.SEEK_END) == len(content) - 3
        assert buffered.read() == content[-3:]


def test_blocks_are_fetched_once_and_only_where_needed(zone: Zone, session: Session) -> None:
    zone.put(f"{zone.home}/a", bytes(20 * BLOCK))
    with RemoteFile(session, f"{zone.home}/a", 20 * BLOCK) as file:
        zone.calls.clear()
        for place in (0, 5, 19 * BLOCK, 19 * BLOCK + 9, 10):
            file.seek(place)
            file.read(3)
        assert zone.count()[READ] == 2


def test_a_header_that_is_spread_over_the_file_is_given_up(zone: Zone, session: Session) -> None:
    zone.put(f"{zone.home}/a", bytes(5 * BLOCK))
    with RemoteFile(session, f"{zone.home}/a", 5 * BLOCK, most_blocks=3) as file:
        for number in range(3):
            file.seek(number * BLOCK)
            file.read(1)
        file.seek(3 * BLOCK)
        with pytest.raises(ScatteredError, match="spread over more than 3 blocks"):
            file.read(1)


def test_an_object_that_is_shorter_than_the_catalogue_says_is_told(zone: Zone, session: Session) -> None:
    replica = zone.put(f"{zone.home}/a", b"12345")
    replica.file.write_bytes(b"123")
    with pytest.raises(OSError, match="it ends at byte 3; the catalogue says 5"):
        read_object(session, f"{zone.home}/a", 5)


def test_a_header_read_in_the_zone_is_that_of_the_file(zone: Zone, session: Session, tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    pixels = np.arange(2 * 3 * 64 * 64, dtype="uint16").reshape(2, 3, 64, 64)
    metadata = {"axes": "CZYX", "PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm", "Channel": {"Name": ["a", "b"]}}
    tifffile.imwrite(path, pixels, ome=True, metadata=metadata, compression="zlib")
    zone.put(f"{zone.home}/a.ome.tif", path.read_bytes())
    with RemoteFile(session, f"{zone.home}/a.ome.tif", path.stat().st_size) as file:
        header = read_stream_headers("a.ome.tif", io.BufferedReader(file, BLOCK))[0]
    assert (header.axes, header.shape, header.channels) == ("czyx", (2, 3, 64, 64), ("a", "b"))
    assert header.voxel_size_um == (None, None, 0.1)


def test_tasks_are_shared_by_a_few_sessions_of_their_own_threads(zone: Zone) -> None:
    threads: set[int] = set()

    def task(number: int) -> Callable[[Session], int]:
        def run(session: Session) -> int:
            threads.add(threading.get_ident())
            if number == 7:
                raise KeyError("seven")
            return len(session.raw.collections.get(zone.home).path) + number

        return run

    done: list[tuple[int, int]] = []
    results = in_sessions(
        Address(zone.home),
        {n: task(n) for n in range(30)},
        sessions=3,
        progress=lambda part, whole: done.append((part, whole)),
    )
    assert isinstance(results.pop(7), KeyError)
    assert results == {n: len(zone.home) + n for n in range(30) if n != 7}
    assert 1 <= len(threads) <= 3
    assert zone.most_connections <= 3
    assert done == [(n + 1, 30) for n in range(30)]


def test_without_a_server_every_task_has_the_error(zone: Zone) -> None:
    zone.stop()
    results = in_sessions(Address(zone.home), {n: lambda _: None for n in range(9)}, sessions=2)
    assert len(results) == 9
    assert {type(each) for each in results.values()} == {EnvironmentUnusableError}


def test_a_task_that_loses_every_connection_is_given_up(zone: Zone) -> None:
    def cut(session: Session) -> None:
        zone.drop_connections()
        session.raw.collections.get(zone.home)

    results = in_sessions(Address(zone.home), {"cut": cut, "well": lambda session: session.raw.zone}, sessions=1)
    assert isinstance(results["cut"], Exception)
    assert results["well"] == "tempZone"
    assert reading.ATTEMPTS == 2
