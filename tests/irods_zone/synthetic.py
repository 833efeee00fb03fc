"""Many data objects at once, written straight into the catalogue; what a listing of them must say is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from irods_zone import access, objects, resources
from irods_zone.catalogue import Actor, Catalogue, timestamp


@dataclass(frozen=True)
class Population:
    """Objects spread evenly over a collection and its sub-collections; no bytes in the vault.

    Attributes
    ----------
    first_id
        Id of object 0; the others follow.
    """

    root: str
    objects: int
    avus: int
    collections: int
    first_id: int

    def path(self, index: int) -> str:
        """Logical path of an object."""
        return f"{self.collection(index % self.collections)}/{self.name(index)}"

    def collection(self, number: int) -> str:
        """Path of a collection; 0 is the root, the others nest ten wide."""
        parts: list[str] = []
        while number > 0:
            parts.append(f"sub_{number:03d}")
            number = (number - 1) // 10
        return "/".join([self.root, *reversed(parts)])

    def name(self, index: int) -> str:
        return f"image_{index:06d}.tif"

    def size(self, index: int) -> int:
        return 1000 + index

    def avu(self, index: int, place: int) -> tuple[str, str, str]:
        """One AVU of an object; the first is the same for a hundred objects, the others its own."""
        value = f"group {index // 100}" if place == 0 else f"value {place} of {index}"
        return f"key_{place}", value, ""

    def truth(self) -> Iterator[tuple[str, int, int, dict[str, str]]]:
        """Path, id, size and AVUs of every object."""
        for index in range(self.objects):
            avus = {name: value for name, value, _ in (self.avu(index, place) for place in range(self.avus))}
            yield self.path(index), self.first_id + index, self.size(index), avus


def populate(
    catalogue: Catalogue, actor: Actor, root: str, n_objects: int, n_avus: int, n_collections: int
) -> Population:
    """Write a population below an existing collection's child `root`."""
    with catalogue.transaction():
        plan = Population(root, n_objects, n_avus, n_collections, catalogue.reserve_ids(n_objects))
        coll_ids = [objects.enter_collection(catalogue, actor, plan.collection(each)) for each in range(n_collections)]
        for coll_id in coll_ids:
            access.set_level(catalogue, coll_id, actor.user_id, access.OWN)
        write_objects(catalogue, actor, plan, coll_ids)
        write_avus(catalogue, plan)
    catalogue.execute("analyze")
    return plan


def write_objects(catalogue: Catalogue, actor: Actor, plan: Population, coll_ids: list[int]) -> None:
    """Rows of the objects and of their owner's permission."""
    resource, now = resources.for_new_replica(catalogue, {}), timestamp()
    catalogue.execute_many(
        "insert into r_data_main(data_id, data_repl_num, coll_id, data_name, data_size, resc_name, data_path, "
        "data_checksum, data_owner_name, data_owner_zone, create_ts, modify_ts, access_ts, resc_hier, resc_id) "
        "values(?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                *(plan.first_id + index, coll_ids[index % plan.collections], plan.name(index), plan.size(index)),
                *(resource.name, str(resource.vault / plan.name(index)), "", actor.name, actor.zone, now, now, now),
                *(resource.hierarchy, resource.resc_id),
            )
            for index in range(plan.objects)
        ),
    )
    catalogue.execute_many(
        "insert into r_objt_access values(?, ?, ?, ?, ?)",
        ((plan.first_id + index, actor.user_id, access.OWN, now, now) for index in range(plan.objects)),
    )


def write_avus(catalogue: Catalogue, plan: Population) -> None:
    """Rows of the triples, equal ones once, and of what they belong to."""
    now = timestamp()
    ids: dict[tuple[str, str, str], int] = {}
    first = catalogue.reserve_ids(plan.objects * plan.avus)
    for index in range(plan.objects):
        for place in range(plan.avus):
            ids.setdefault(plan.avu(index, place), first + len(ids))
    catalogue.execute_many(
        "insert into r_meta_main values(?, ?, ?, ?, ?, ?)", ((number, *avu, now, now) for avu, number in ids.items())
    )
    catalogue.execute_many(
        "insert into r_objt_metamap values(?, ?, ?, ?)",
        (
            (plan.first_id + index, ids[plan.avu(index, place)], now, now)
            for index in range(plan.objects)
            for place in range(plan.avus)
        ),
    )
