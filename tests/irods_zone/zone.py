"""The zone as a test sees it: a folder with a catalogue and a vault, a running server, and short cuts around it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import TracebackType

from irods import password_obfuscation

from irods_zone import access, administration, collection, metadata, objects, registration, resources, synthetic
from irods_zone.catalogue import Actor, Catalogue, Replica
from irods_zone.faults import Faults
from irods_zone.server import Call, Server


class Zone:
    """A zone in a folder; made there if there is none yet, served while the context lasts.

    Parameters
    ----------
    folder
        Gets `catalogue.sqlite`, `vault/` and `clients/`. The same folder again is the same zone again.
    host, port
        Where to listen; port 0 takes a free one, and keeps it over `restart`.
    zone, user, password
        Name of the zone, and of its first administrator. The client's own tests know only these defaults.
    """

    def __init__(
        self, folder: Path, *, host: str = "localhost", port: int = 0, zone: str = "tempZone", user: str = "rods",
        password: str = "rods"
    ) -> None:  # fmt: skip
        self.folder, self.zone, self.user, self.password = folder, zone, user, password
        self.faults = Faults()
        self.vault = folder / "vault"
        self.vault.mkdir(parents=True, exist_ok=True)
        file = folder / "catalogue.sqlite"
        is_new = not file.exists()
        self.catalogue = Catalogue(file)
        if is_new:
            self.catalogue.create()
            administration.found_zone(self.catalogue, zone, (user, password), host, self.vault)
        self._server = Server(host, port, file, self.faults)
        self._passwords = {user: password}

    def __enter__(self) -> Zone:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self.catalogue.close()

    @property
    def host(self) -> str:
        return self._server.host

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def admin(self) -> Actor:
        """The first administrator."""
        return administration.existing_user(self.catalogue, self.user)

    @property
    def home(self) -> str:
        """Home collection of the first administrator."""
        return f"/{self.zone}/home/{self.user}"

    def start(self) -> None:
        self._server.start()

    def stop(self, crash: bool = False) -> None:
        """Cut all connections and stop listening; after a `crash` what was being written stays locked."""
        self._server.stop(crash)

    def restart(self, crash: bool = False) -> None:
        """Stop and serve again on the same port."""
        self.stop(crash)
        self.start()

    def drop_connections(self) -> None:
        """Cut all open connections and go on listening."""
        self._server.drop_all()

    # What the server saw

    @property
    def calls(self) -> list[Call]:
        """Every call answered so far, in order; clear it to count anew."""
        return self._server.calls

    @property
    def failures(self) -> list[str]:
        """Errors of the test zone itself; a test should find none."""
        return self._server.failures

    @property
    def open_connections(self) -> int:
        return self._server.open_connections

    @property
    def most_connections(self) -> int:
        """Most connections that were open at once so far."""
        return self._server.most_open

    def count(self) -> Counter[int]:
        """How often each call number was answered."""
        return Counter(call.api for call in self.calls)

    # What a client needs

    def environment_file(self, user: str | None = None) -> Path:
        """The client's environment file of a user; `.irodsA` with his password lies beside it."""
        name = user or self.user
        folder = self.folder / "clients" / name
        folder.mkdir(parents=True, exist_ok=True)
        environment = {
            "irods_host": self.host,
            "irods_port": self.port,
            "irods_user_name": name,
            "irods_zone_name": self.zone,
            "irods_default_resource": resources.DEFAULT,
            "irods_client_server_policy": "CS_NEG_REFUSE",
        }
        file = folder / "irods_environment.json"
        file.write_text(json.dumps(environment, indent=2), encoding="utf-8")
        secret = folder / ".irodsA"
        secret.write_text(password_obfuscation.encode(self._passwords[name]), encoding="utf-8")
        secret.chmod(0o600)
        return file

    def environment(self, user: str | None = None) -> dict[str, str]:
        """Environment variables that lead a client to its files."""
        file = self.environment_file(user)
        return {"IRODS_ENVIRONMENT_FILE": str(file), "IRODS_AUTHENTICATION_FILE": str(file.with_name(".irodsA"))}

    # Content without a client

    def make_user(self, name: str, password: str, kind: str = "rodsuser", groups: tuple[str, ...] = ()) -> Actor:
        """Add a user; groups that are not there yet are made."""
        actor = administration.add_user(self.catalogue, name, kind)
        administration.set_password(self.catalogue, actor, password)
        self._passwords[name] = password
        for group in groups:
            if self.catalogue.user(group, self.zone) is None:
                administration.add_user(self.catalogue, group, "rodsgroup")
            administration.change_member(self.catalogue, group, "add", name, "")
        return actor

    def grant(self, path: str, user: str, level: str, recursive: bool = False) -> None:
        """Give a user or group a level on a path, as an administrator."""
        access.change_access(self.catalogue, self.admin, path, f"admin:{level}", (user, self.zone), recursive)

    def make_collection(self, path: str) -> None:
        """Make a collection and those above it."""
        collection.create(self.catalogue, self.admin, path, parents=True)

    def put(
        self, path: str, content: bytes = b"", avus: list[tuple[str, str, str]] | None = None, checksum: bool = True
    ) -> Replica:
        """Write an object, its collection made if need be; with a registered checksum, unless told not to."""
        self.make_collection(path.rpartition("/")[0])
        flags = objects.WRONLY | objects.CREATE | objects.TRUNCATE
        tokens = self._server.tokens
        handle = objects.open_object(self.catalogue, self.admin, tokens, path, flags, {})
        handle.replica.file.write_bytes(content)
        handle.wrote = True
        objects.close_handle(self.catalogue, tokens, handle, {"regChksum": ""} if checksum else {})
        for avu in avus or []:
            self.add_avu(path, *avu)
        return self.replicas(path)[0]

    def add_avu(self, path: str, name: str, value: str, unit: str = "") -> None:
        """Add an AVU to an object or collection."""
        kind = "-C" if self.catalogue.collection(path) else "-d"
        metadata.add(self.catalogue, metadata.find(self.catalogue, kind, path).object_id, (name, value, unit))

    def avus(self, path: str) -> list[tuple[str, str, str]]:
        """All AVUs of an object or collection, in order."""
        kind = "-C" if self.catalogue.collection(path) else "-d"
        return metadata.avus_of(self.catalogue, metadata.find(self.catalogue, kind, path).object_id)

    def replicas(self, path: str) -> list[Replica]:
        """What the catalogue says of an object's replicas."""
        return self.catalogue.replicas(path)

    def read(self, path: str) -> bytes:
        """Bytes of the first good replica."""
        return objects.choose(self.catalogue, self.catalogue.existing_object(path), {}).file.read_bytes()

    def add_resource(self, name: str) -> None:
        """Add a storing resource with a vault of its own."""
        folder = self.folder / f"vault_{name}"
        folder.mkdir(exist_ok=True)
        resources.add(self.catalogue, name, "unixfilesystem", f"{self.host}:{folder}")

    def add_replica(self, path: str, resource: str) -> None:
        """Copy an object to another resource."""
        objects.replicate(self.catalogue, self.admin, path, {"destRescName": resource})

    def set_replica(
        self, path: str, number: int = 0, *, status: str | None = None, checksum: str | None = None
    ) -> None:
        """Change what the catalogue says of a replica: '0' makes it stale, '1' good, '2' being written."""
        asked = {"replStatus": status, "chksum": checksum}
        changes = {key: value for key, value in asked.items() if value is not None}
        registration.change_row(self.catalogue, self.admin, path, number, changes)

    def corrupt(self, path: str, number: int = 0) -> None:
        """Change one byte of a replica behind the catalogue's back."""
        file = next(each.file for each in self.replicas(path) if each.number == number)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)

    def populate(
        self, root: str, n_objects: int = 100_000, n_avus: int = 5, n_collections: int = 111
    ) -> synthetic.Population:
        """Enter many objects below a new collection, catalogue only, a hundred thousand in seconds."""
        self.make_collection(root.rpartition("/")[0])
        return synthetic.populate(self.catalogue, self.admin, root, n_objects, n_avus, n_collections)
