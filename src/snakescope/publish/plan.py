"""What publishing would do: the content held against what the zone has. Changes nothing, here or there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePosixPath

from snakescope.errors import InputError, Problem, problem
from snakescope.publish import quay
from snakescope.publish.content import STUDY, Content, Item
from snakescope.record import sum_line
from snakescope.study.checksums import NAME as CHECKSUMS
from snakescope.study.export import METADATA
from snakescope.zone.address import Address
from snakescope.zone.avus import Avu, Change, Kind, addition, difference, fit_list, path_value, read_avus
from snakescope.zone.checksums import same as same_checksum
from snakescope.zone.checksums import written
from snakescope.zone.listing import Listed, list_tree
from snakescope.zone.session import Session
from snakescope.zone.store import BytesSource, FileSource, Held, Source, ZipSource, held, is_collection, same

PACKED = ".zip"
# What is annotated, after the prefix. Each object has the same names, so that what is void goes away.
NAMES = ("study", "title", "run", "crate", "sample", "step", "source", "sha256", "packed_sha256", "voxel_size_um")
RESULTS = "results"
# What an object says of its content, and of the crate that tells of it: not true while it is written anew.
CLAIMS = ("run", "crate", "source", "sha256", "packed_sha256", "voxel_size_um")
# What the study's collection says as its run before all is there.
UNFINISHED = "unfinished"
SHOWN = 50
# A reader who finds these finds all that they tell of: they are put last.
LAST = (METADATA, CHECKSUMS)


class Act(Enum):
    """What is to be done with a file."""

    PUT = "put"
    REPLACE = "replace"
    ASK = "ask for its checksum"
    SAME = "same"


@dataclass(slots=True)
class Upload:
    """A file for one object; `sha256` is None for a packed folder until it is made."""

    path: str
    source: Source
    sha256: str | None
    held: Held | None = None
    act: Act = Act.PUT


@dataclass(slots=True)
class Planned:
    """An item with its place in the zone, its files, and what is to change in its AVUs.

    `stale` are objects in a folder that is one image which are no part of it: whoever reads it would take them for one.
    """

    item: Item
    path: str
    kind: Kind
    uploads: list[Upload]
    packed: bool = False
    stale: list[str] = field(default_factory=list)
    have: tuple[Avu, ...] = ()
    change: Change = field(default_factory=Change)

    @property
    def annotates(self) -> bool:
        """Whether its AVUs are written: they are withdrawn while its content is."""
        return bool(self.change or self.stale) or any(upload.act is Act.REPLACE for upload in self.uploads)


@dataclass(slots=True)
class Pointer:
    """A source in iRODS that is to tell where its results lie."""

    address: Address
    kind: Kind
    change: Change


@dataclass
class Plan:
    """All that is to be done.

    Parameters
    ----------
    root
        The collection of the study.
    mark_have
        AVUs of that collection.
    collections
        Those that are still to be made, the highest first.
    gone
        Objects, and images with a slash at their end, that were published and are no longer part of the study.
    others
        Objects below the collection that somebody else put there.
    checksums_held, checksums_have
        What is there of the list of checksums, which is made when all else is put.
    """

    content: Content
    root: Address
    prefix: str
    items: list[Planned]
    mark_have: tuple[Avu, ...] = ()
    collections: list[str] = field(default_factory=list)
    pointers: list[Pointer] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    others: int = 0
    checksums_held: Held | None = None
    checksums_have: tuple[Avu, ...] = ()

    def avu(self, name: str) -> str:
        """Full name of an AVU."""
        return f"{self.prefix}{name}"

    @property
    def is_marked(self) -> bool:
        """Whether the study's collection says that it is a study's."""
        return self.avu("study") in {avu.name for avu in self.mark_have}

    def mark(self, *, whole: bool) -> Change:
        """What is to change in the AVUs of the study's collection: when all is there, or before."""
        told = {"study": self.content.name, "title": self.content.title, "run": UNFINISHED}
        if whole:
            told |= {"run": self.content.run, "crate": _crate(self)}
        return difference(self.mark_have, {self.avu(name): told.get(name) for name in NAMES})

    def withdrawal(self, planned: Planned) -> Change:
        """What an item claims of its content, to be taken back before that is written."""
        names = {self.avu(name) for name in CLAIMS}
        return Change(remove=tuple(sorted(avu for avu in planned.have if avu.name in names)))


def beside(content: Content) -> Address:
    """The deepest collection that all sources in iRODS lie in.

    Raises
    ------
    InputError
        If there are none, or they have no collection of their own in common.
    """
    found = [address for address, _ in content.remote.values()]
    if not found:
        raise problem("--beside", "no row of the study comes from iRODS", "Name a collection: irods:///zone/path")
    if len({address.server for address in found}) > 1:
        raise problem("--beside", "the rows come from several zones", "Name a collection: irods:///zone/path")
    parts = [PurePosixPath(address.parent.path).parts for address in found]
    common = [names[0] for names in zip(*parts, strict=False) if len(set(names)) == 1]
    path = "/" + "/".join(common[1:])
    if len(common) < 4:  # "/", the zone, "home" and more
        message = f"the rows have no collection in common but {path}"
        raise problem("--beside", message, "Name a collection: irods:///zone/path")
    return found[0].at(path)


def make_plan(content: Content, target: Address, prefix: str, *, pack: bool = False) -> Plan:
    """Say where everything goes, before the zone is asked."""
    root = target / content.name
    items = [_placed(item, root, pack=pack) for item in content.items]
    if content.quay:
        items.append(_made(quay.NAME, quay.manifest(root, content.title, content.overview, content.quay), root))
    return Plan(content, root, prefix, items)


def _placed(item: Item, root: Address, *, pack: bool) -> Planned:
    path = f"{root.path}/{item.path}"
    if item.folder and pack:
        source = ZipSource(item.here, item.files)
        return Planned(item, path + PACKED, Kind.OBJECT, [Upload(path + PACKED, source, None)], packed=True)
    if item.folder:
        uploads = [Upload(f"{path}/{name}", FileSource(item.here / name), sha) for name, sha in item.files.items()]
        return Planned(item, path, Kind.COLLECTION, uploads)
    return Planned(item, path, Kind.OBJECT, [Upload(path, FileSource(item.here), item.sha256)])


def _made(name: str, text: bytes, root: Address) -> Planned:
    """A file that is made for the zone."""
    source, path = BytesSource(text), f"{root.path}/{name}"
    item = Item(name, Path(name), STUDY, files={"": _sha256(source)})
    return Planned(item, path, Kind.OBJECT, [Upload(path, source, item.sha256)])


# ---------------------------------------------------------------------------- held against the zone


def compare(plan: Plan, session: Session) -> None:
    """Ask the zone what is there, and fill the plan in.

    Raises
    ------
    InputError
        If the target is not there, the collection is another study's, or files of somebody else would be replaced.
    """
    root = plan.root.path
    if not is_collection(session, plan.root.parent.path):
        message = "there is no such collection, or you have no permission to see it"
        raise problem(plan.root.parent, message, f"{session.hint(root)} Or make it with imkdir.")
    objects, collections = _listed(session, root)
    there = objects.get(f"{root}/{CHECKSUMS}")
    if there:
        plan.checksums_held, plan.checksums_have = held(there), tuple(Avu(*avu) for avu in there.avus)
    _compare_mark(plan, collections.get(root))
    _compare_files(plan, objects)
    _find_others(plan, objects, collections)
    if not plan.is_marked:
        _refuse_foreign(plan)
    _compare_avus(plan, {path: each.avus for path, each in objects.items()} | collections)
    needed = {root} | {parent for each in plan.items for up in each.uploads for parent in _parents(up.path, root)}
    plan.collections = sorted(needed - collections.keys(), key=lambda path: (path.count("/"), path))


def _listed(session: Session, root: str) -> tuple[dict[str, Listed], dict[str, tuple[tuple[str, str, str], ...]]]:
    """Objects and collections at and below the study's collection; nothing where it is not there."""
    if not is_collection(session, root):
        return {}, {}
    listing = list_tree(session, root)
    collections = {path: avus for path, avus in listing.collections.items() if f"{path}/".startswith(f"{root}/")}
    return {each.path: each for each in listing.objects}, collections


def _parents(path: str, root: str) -> Iterator[str]:
    """Collections between the study's and an object."""
    at = path.rfind("/")
    while at > len(root):
        yield path[:at]
        at = path.rfind("/", 0, at)


def _compare_mark(plan: Plan, avus: Iterable[tuple[str, str, str]] | None) -> None:
    """What the study's collection has to tell; another title means another study."""
    plan.mark_have = tuple(Avu(*avu) for avu in avus or ())
    name = plan.avu("title")
    titles = [avu.value for avu in plan.mark_have if avu.name == name]
    fitting = [avu.value for avu in plan.mark(whole=True).add if avu.name == name]
    if titles and fitting:
        where, message = str(plan.root), f"holds the study {titles[0]!r}; this one is {fitting[0]!r}"
        fix = "Publish into another collection. If only the title has changed, change it there first: "
        raise problem(where, message, f"{fix}imeta set -C COLLECTION {name} TITLE")


def _crate(plan: Plan) -> str:
    return path_value(f"{plan.root.path}/{METADATA}")


def _compare_files(plan: Plan, objects: dict[str, Listed]) -> None:
    for planned in plan.items:
        for upload in planned.uploads:
            listed = objects.get(upload.path)
            if listed is None:
                continue
            upload.held = held(listed)
            avus = {name: value for name, value, _ in listed.avus}
            known = _known_packed(plan, planned, upload.held, avus) if planned.packed else upload.sha256
            upload.sha256 = known
            _judge(upload, known)
            if planned.packed and upload.act is Act.SAME and known is None:
                upload.sha256 = _sha256(upload.source)


def _judge(upload: Upload, sha256: str | None) -> None:
    """Say what is to be done with a file, by what is there."""
    if upload.held is not None:
        is_same = same(upload.held, upload.source, sha256)
        upload.act = Act.ASK if is_same is None else Act.SAME if is_same else Act.REPLACE


def _known_packed(plan: Plan, planned: Planned, there: Held, avus: dict[str, str]) -> str | None:
    """Digest of a packed folder, if it was packed of the same files and what was put is still there."""
    packed, whole = avus.get(plan.avu("packed_sha256")), avus.get(plan.avu("sha256"))
    if not packed or whole != planned.item.sha256 or there.checksum is None:
        return None
    fits = len(packed) == 64 and same_checksum(there.checksum, written("sha256", bytes.fromhex(packed)))
    return packed if fits else None


def _sha256(source: Source) -> str:
    found = hashlib.sha256()
    for block in source.blocks():
        found.update(block)
    return found.hexdigest()


def _refuse_foreign(plan: Plan) -> None:
    """Files at places of ours that nobody says to be ours are not replaced."""
    found = [up.path for each in plan.items for up in each.uploads if up.act is Act.REPLACE]
    found += [path for each in plan.items for path in each.stale]
    if found:
        message = "is no part of the study or has other content, and was not published from a study"
        fix = "Publish into another collection, or move it away."
        problems = [Problem(str(plan.root.at(path)), message, fix) for path in found[:SHOWN]]
        more = len(found) - SHOWN
        raise InputError([*problems, *([Problem(str(plan.root), f"and {more} more of them")] if more > 0 else [])])


def _compare_avus(plan: Plan, avus: dict[str, tuple[tuple[str, str, str], ...]]) -> None:
    for planned in plan.items:
        planned.have = tuple(Avu(*avu) for avu in avus.get(planned.path, ()))
        settle_avus(plan, planned)


def settle_avus(plan: Plan, planned: Planned) -> None:
    """Say what is to change in the AVUs of an item, as far as its digest is known."""
    item, packed = planned.item, planned.uploads[0].sha256 if planned.packed else None
    wanted = {
        "study": plan.content.name,
        "run": plan.content.run,
        "crate": _crate(plan),
        "sample": item.sample,
        "step": item.step,
        "source": fit_list([_told(source) for source in item.sources]) if item.sources else None,
        "sha256": item.sha256,
        "packed_sha256": packed,
        "voxel_size_um": item.voxel_size_um,
    }
    planned.change = difference(planned.have, {plan.avu(name): wanted.get(name) for name in NAMES})


def _told(source: str) -> str:
    """A source as a value; one that does not lie in iRODS has a name in the crate, which is no path from its root."""
    return path_value(source) if source.startswith("/") else source


def _find_others(
    plan: Plan, objects: dict[str, Listed], collections: dict[str, tuple[tuple[str, str, str], ...]]
) -> None:
    """Objects that are not planned: in our images, published before and gone, or somebody else's, which are counted."""
    root, mine = plan.root.path, (plan.avu("study"), plan.content.name)
    ours = {path for path, avus in collections.items() if path != root and mine in {avu[:2] for avu in avus}}
    planned = {upload.path for each in plan.items for upload in each.uploads} | {f"{root}/{CHECKSUMS}"}
    images = {each.path: each for each in plan.items if each.kind is Kind.COLLECTION}
    gone: dict[str, None] = {}
    for path, listed in objects.items():
        if path in planned:
            continue
        above = list(_parents(path, root))
        kept, image = (next((parent for parent in above if parent in some), None) for some in (images, ours))
        if kept:
            images[kept].stale.append(path)
        elif image or mine in {avu[:2] for avu in listed.avus}:
            gone[f"{image}/" if image else path] = None
        else:
            plan.others += 1
    plan.gone = list(gone)


# ---------------------------------------------------------------------------- the list of checksums


def checksums(plan: Plan) -> Planned:
    """``checksums.sha256`` of what was put, by the names that it has in the zone; what it is to be told, too."""
    told = [
        sum_line(upload.sha256, upload.path[len(plan.root.path) + 1 :])
        for each in plan.items
        for upload in each.uploads
        if upload.sha256
    ]
    planned = _made(CHECKSUMS, "".join(told).encode("utf-8", errors="surrogateescape"), plan.root)
    planned.have, planned.uploads[0].held = plan.checksums_have, plan.checksums_held
    _judge(planned.uploads[0], planned.item.sha256)
    settle_avus(plan, planned)
    return planned


# ---------------------------------------------------------------------------- sources


def pointers(plan: Plan, session: Session, addresses: list[tuple[Address, bool]]) -> list[Pointer]:
    """What the sources in iRODS, all of one server, are to be told; each with whether it is a collection."""
    parts = [PurePosixPath(address.parent.path).parts for address, _ in addresses]
    common = [names[0] for names in zip(*parts, strict=False) if len(set(names)) == 1]
    name = plan.avu(RESULTS)
    have = read_avus(session, "/" + "/".join(common[1:]), name)
    found = []
    for address, folder in addresses:
        change = addition(have.get(address.path, []), name, path_value(plan.root.path))
        if change:
            found.append(Pointer(address, Kind.COLLECTION if folder else Kind.OBJECT, change))
    return found
