"""``snakescope publish``: put a study into a zone, annotate it, and check it. Done twice, the second time does nothing.

The order makes a crash harmless: the collection says first whose it is, and that it is unfinished; then come the files,
then their AVUs; then the crate and the list of checksums, which tell of all the others; then the collection says which
run it holds; the sources last. What is written anew takes back first what it says of its content.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snakescope import layout
from snakescope.errors import InputError, Problem, problem
from snakescope.publish.content import read_content
from snakescope.publish.plan import (
    LAST,
    Act,
    Plan,
    Planned,
    Pointer,
    Upload,
    beside,
    checksums,
    compare,
    make_plan,
    pointers,
    settle_avus,
)
from snakescope.zone.address import Address
from snakescope.zone.avus import Kind, after, annotate, fit
from snakescope.zone.session import Session, connect
from snakescope.zone.store import confirm, in_parallel, make_collection, put, remove, told

Progress = Callable[[str, int, int], None]
PACKED_IMAGES = (".zip", ".tar", ".tgz", ".tar.gz")


@dataclass(frozen=True)
class PublishedFile:
    """One row of the plan.

    Parameters
    ----------
    path
        Logical path of the object, or of the collection that is one image.
    act
        What is, or was, done with its files.
    annotate
        How many AVUs are added or removed.
    """

    path: str
    dataset: str
    files: dict[str, int]
    bytes: int
    act: str
    annotate: int


@dataclass
class PublishReport:
    """What came of publishing, or would come of it.

    Parameters
    ----------
    target
        The collection of the study.
    rows
        All that is published, item by item.
    put, replaced, same
        Objects that were new, had other content, and were there already.
    put_bytes
        Bytes of those that were put.
    annotated
        Objects and collections whose AVUs were changed.
    one_by_one
        Those of them where the call that changes several AVUs at once was refused.
    kept
        AVUs that are void and that we may not remove, as ``path: name``.
    sources, sources_refused
        Sources in iRODS that were told where their results lie, and those that could not be, with the reason.
    removed
        Objects in an image that are no longer part of it; they are in the trash of the zone.
    gone
        Objects, and images with a slash at their end, that were published and are no longer part of the study. They
        are left as they are.
    others
        Objects in the study's collection that somebody else put there.
    failed
        What was refused, and why.
    """

    target: str
    title: str
    dry_run: bool
    rows: list[PublishedFile] = field(default_factory=list)
    put: int = 0
    replaced: int = 0
    same: int = 0
    put_bytes: int = 0
    annotated: int = 0
    one_by_one: int = 0
    kept: list[str] = field(default_factory=list)
    sources: int = 0
    sources_refused: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    others: int = 0
    failed: list[Problem] = field(default_factory=list)
    seconds: float = 0.0


def publish(
    root: Path,
    target: str | None,
    sheet_path: str = layout.SHEET,
    *,
    beside_sources: bool = False,
    prefix: str = "snakescope.",
    pack: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> PublishReport:
    """Publish the last export of a study into a zone.

    Parameters
    ----------
    root
        Study folder.
    target
        Address of the collection that gets a collection with the study's name.
    beside_sources
        Take the deepest collection that all sources in iRODS lie in.
    prefix
        What names of AVUs begin with.
    pack
        Put every image that is a folder as one zip file.
    dry_run
        Say what would be done, change nothing.
    progress
        Told the name of the pass, what is done and how much there is.

    Raises
    ------
    InputError
        If there is no export, or the target cannot be published to. Nothing has been changed then.
    EnvironmentUnusableError
        If the server cannot be reached, or not any more; what was finished is kept.
    """
    started = time.monotonic()
    _check_prefix(prefix)
    if (target is None) != beside_sources:
        raise problem("publish", "expected either an address or --beside", "Such as: irods:///zone/home/project")
    content = read_content(root, sheet_path)
    address = Address.parse(target) if target is not None else beside(content)
    plan = make_plan(content, address, prefix, pack=pack)
    with connect(address) as session, told(plan.root):
        compare(plan, session)
    found = _find_pointers(plan)
    report = PublishReport(str(plan.root), content.title, dry_run, gone=plan.gone, others=plan.others)
    if dry_run:
        _count_plan(plan, found, report)
    else:
        _Publisher(plan, report, progress).publish(found)
    report.failed.sort(key=lambda item: item.where)
    report.seconds = time.monotonic() - started
    return report


def _check_prefix(prefix: str) -> None:
    if not prefix or fit(prefix, 200) != prefix or "%" in prefix:
        where, message = (
            f"{layout.CONFIG}: avu_prefix",
            f"found {prefix!r}; expected a short text such as 'snakescope.'",
        )
        raise problem(where, message)


def _find_pointers(plan: Plan) -> list[Pointer]:
    """What the sources are to be told, asked from each server that they lie on."""
    servers: dict[Address, list[tuple[Address, bool]]] = defaultdict(list)
    for address, row in plan.content.remote.values():
        folder = row.format == "ome-zarr" and not address.name.lower().endswith(PACKED_IMAGES)
        servers[address.server].append((address, folder))
    found = []
    for server, addresses in servers.items():
        with connect(server) as session, told(server):
            found += pointers(plan, session, addresses)
    return found


# ---------------------------------------------------------------------------- what would be done


def _count_plan(plan: Plan, found: Sequence[Pointer], report: PublishReport) -> None:
    """What a dry run tells."""
    items = list(plan.items)
    if all(upload.sha256 for each in items for upload in each.uploads):
        items.append(checksums(plan))
    report.rows = [_row(each) for each in items]
    uploads = [upload for each in items for upload in each.uploads]
    acts = Counter(upload.act for upload in uploads)
    report.put, report.replaced = acts[Act.PUT], acts[Act.REPLACE] + acts[Act.ASK]
    report.same = acts[Act.SAME]
    report.put_bytes = sum(_size(each) for each in items if each.uploads[0].act is not Act.SAME or not each.packed)
    report.annotated = sum(each.annotates for each in items)
    report.removed = [path for each in items for path in each.stale]
    anew = report.removed or any(each.act is Act.REPLACE for each in uploads)
    report.annotated += bool(plan.mark(whole=True) or anew)
    report.sources = len(found)


def _size(planned: Planned) -> int:
    """Bytes of the files that are still to be put; of a packed folder, of what goes into it."""
    if planned.packed:
        return sum((planned.item.here / name).stat().st_size for name in planned.item.files)
    return sum(upload.source.size or 0 for upload in planned.uploads if upload.act is not Act.SAME)


def _row(planned: Planned) -> PublishedFile:
    acts = Counter(upload.act.value for upload in planned.uploads)
    act = next(iter(acts)) if len(acts) == 1 else "update"
    size = sum((planned.item.here / name).stat().st_size for name in planned.item.files) if planned.item.folder else 0
    size = size or sum(upload.source.size or 0 for upload in planned.uploads)
    changes = len(planned.change.add) + len(planned.change.remove)
    return PublishedFile(planned.path, planned.item.dataset, dict(acts), size, act, changes)


# ---------------------------------------------------------------------------- doing it


class _Publisher:
    """Carries a plan out and keeps the count."""

    def __init__(self, plan: Plan, report: PublishReport, progress: Progress | None) -> None:
        self.plan, self.report, self._progress = plan, report, progress
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._broken: set[str] = set()
        self._unfinished = False

    def publish(self, found: Sequence[Pointer]) -> None:
        """Do all that is planned."""
        plan = self.plan
        self._make_collections(path for path in plan.collections if path == plan.root.path)
        if not plan.is_marked:
            self._in_root(self._begin)
        self._make_collections(path for path in plan.collections if path != plan.root.path)
        first = [each for each in plan.items if each.item.path not in LAST]
        last = [each for each in plan.items if each.item.path in LAST]
        for items in (first, last):
            if not self.report.failed:
                self._put_all(items)
        if not self.report.failed:
            final = checksums(plan)
            self._put_all([final])
            self.report.rows = [_row(each) for each in (*plan.items, final)]
        else:
            self.report.rows = [_row(each) for each in plan.items]
        if not self.report.failed:
            self._in_root(self._end)
            self._tell_sources(found)

    def _lock_of(self, path: str) -> threading.Lock:
        with self._lock:
            return self._locks[path]

    def _in_root(self, do: Callable[[Session], None]) -> None:
        """Say something in the AVUs of the study's collection."""
        for _, why in in_parallel(self.plan.root, [do], lambda session, each: each(session)):
            raise problem(self.plan.root, f"cannot be annotated: {why}")

    def _begin(self, session: Session) -> None:
        """Say whose the collection is, and that not all is there; once, by whoever comes first."""
        with self._lock_of(self.plan.root.path):
            if not self._unfinished:
                self._mark(session, whole=False)
                self._unfinished = True

    def _end(self, session: Session) -> None:
        change = self.plan.mark(whole=True)
        self.report.annotated += bool(change) or self._unfinished
        self._mark(session, whole=True)

    def _mark(self, session: Session, *, whole: bool) -> None:
        plan = self.plan
        change = plan.mark(whole=whole)
        done = annotate(session, plan.root.path, Kind.COLLECTION, change)
        self.report.kept += [f"{plan.root.path}: {avu.name}" for avu in done.kept if whole]
        plan.mark_have = after(plan.mark_have, change)

    def _withdraw(self, session: Session, planned: Planned) -> None:
        """Take back what an item, and the collection, say of a content that is about to be another."""
        with self._lock_of(planned.path):
            change = self.plan.withdrawal(planned)
            if change:
                self._begin(session)
                annotate(session, planned.path, planned.kind, change)
                planned.have = after(planned.have, change)

    def _make_collections(self, paths: Iterable[str]) -> None:
        """Make collections, those of one depth at once; each has its parent then."""
        depths: dict[int, list[str]] = defaultdict(list)
        for path in paths:
            depths[path.count("/")].append(path)
        for _, level in sorted(depths.items()):
            failed = in_parallel(self.plan.root, level, make_collection, progress=self._pass("making collections"))
            if failed:  # nothing can be put there
                raise InputError(
                    Problem(str(self.plan.root.at(path)), f"cannot be made: {why}") for path, why in failed
                )

    def _put_all(self, items: Sequence[Planned]) -> None:
        """Put the files of some items, and then annotate those that are whole."""
        stale = [(each, path) for each in items for path in each.stale]
        for (each, path), why in in_parallel(self.plan.root, stale, self._remove, progress=self._pass("removing")):
            self._broken.add(each.path)
            self._fail(path, why)
        uploads = [(each, upload) for each in items for upload in each.uploads]
        self.report.same += sum(upload.act is Act.SAME for _, upload in uploads)
        wanted = [pair for pair in uploads if pair[1].act is not Act.SAME]
        failed = in_parallel(self.plan.root, wanted, self._put, progress=self._pass("putting files"))
        for (each, upload), why in failed:
            self._broken.add(each.path)
            self._fail(upload.path, why)
        whole = [each for each in items if each.path not in self._broken]
        for each in whole:
            settle_avus(self.plan, each)
        changed = [each for each in whole if each.change]
        for each, why in in_parallel(self.plan.root, changed, self._annotate, progress=self._pass("annotating")):
            self._fail(each.path, why)

    def _remove(self, session: Session, pair: tuple[Planned, str]) -> None:
        planned, path = pair
        self._withdraw(session, planned)
        remove(session, path)
        with self._lock:
            self.report.removed.append(path)

    def _put(self, session: Session, pair: tuple[Planned, Upload]) -> None:
        planned, upload = pair
        there = upload.held if upload.act is Act.ASK else None
        if there is not None and confirm(session, upload.path, there, upload.source, upload.sha256):
            with self._lock:
                self.report.same += 1
            return
        self._withdraw(session, planned)
        upload.sha256, size = put(session, upload.path, upload.source, upload.sha256)
        with self._lock:
            self.report.put_bytes += size
            self.report.put += upload.act is Act.PUT
            self.report.replaced += upload.act is not Act.PUT

    def _annotate(self, session: Session, planned: Planned) -> None:
        done = annotate(session, planned.path, planned.kind, planned.change)
        with self._lock:
            self.report.annotated += 1
            self.report.one_by_one += not done.atomic
            self.report.kept += [f"{planned.path}: {avu.name}" for avu in done.kept]

    def _tell_sources(self, found: Sequence[Pointer]) -> None:
        servers: dict[Address, list[Pointer]] = defaultdict(list)
        for pointer in found:
            servers[pointer.address.server].append(pointer)
        for server, some in servers.items():
            refused = in_parallel(server, some, _point, progress=self._pass("annotating sources"))
            self.report.sources_refused += [f"{pointer.address.path}: {why}" for pointer, why in refused]
            self.report.sources += len(some) - len(refused)

    def _fail(self, path: str, why: str) -> None:
        self.report.failed.append(Problem(str(self.plan.root.at(path)), why))

    def _pass(self, name: str) -> Callable[[int, int], None] | None:
        progress = self._progress
        return (lambda done, total: progress(name, done, total)) if progress else None


def _point(session: Session, pointer: Pointer) -> None:
    annotate(session, pointer.address.path, pointer.kind, pointer.change)
