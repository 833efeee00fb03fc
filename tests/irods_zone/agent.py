"""One agent per connection: it logs the client in and answers its calls one by one.

Open replicas and half-read queries belong to the agent and die with it, as on the server: a page of a query asked of
another agent finds another query's rows, or none and the agent crashes.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from irods_zone import (
    access,
    administration,
    auth,
    collection,
    genquery1,
    genquery2,
    metadata,
    objects,
    registration,
    resources,
)
from irods_zone.catalogue import Actor, Catalogue, Replica
from irods_zone.errors import AgentCrashError, Code, IrodsError, refuse
from irods_zone.genquery1 import OpenStatement, Query
from irods_zone.wire import (
    Channel,
    ConnectionLostError,
    Frame,
    Node,
    error_stack,
    item,
    json_reply,
    string_reply,
    struct_of,
)

if TYPE_CHECKING:
    from irods_zone.server import Server

logger = logging.getLogger("irods_zone")
RELEASE, API_VERSION = "rods5.0.2", "d"
NEGOTIATION = "request_server_negotiation"
FIRST_DESCRIPTOR, MAX_DESCRIPTORS, MAX_STATEMENTS = 3, 1024, 50
UNREGISTER, RENAME_COLLECTION = 26, 12
READ_LIMIT = 1 << 30
SLEEP = re.compile(r"\s*@external\s+rule\s*\{\s*msiSleep\('(\d+)',\s*'(\d+)'\)\s*\}\s*")
BEFORE_LOGIN = (110000, 703, 704)


@dataclass
class Reply:
    """What goes back: a status, a packed message, bytes."""

    status: int = 0
    message: str = ""
    data: bytes = b""


class Agent:
    """Serves one connection until it ends."""

    def __init__(self, server: Server, channel: Channel, number: int) -> None:
        self._server = server
        self._channel = channel
        self._number = number
        self._catalogue = Catalogue(server.catalogue_file)
        self._actor: Actor | None = None
        self._challenge = ""
        self._handles: dict[int, objects.Handle] = {}
        self._statements: dict[int, OpenStatement] = {}
        self._client: tuple[str, str] = ("", "")
        self.abandon = False

    def run(self) -> None:
        """Serve; whatever ends the connection, nothing stays open."""
        try:
            self._handshake()
            while (frame := self._channel.receive()).kind != "RODS_DISCONNECT":
                self._answer(frame)
        except ConnectionLostError as error:
            logger.debug("connection %d: %s", self._number, error)
        except AgentCrashError as error:
            logger.warning("connection %d: agent crashes: %s", self._number, error)
        finally:
            self._clean_up()

    def wake(self) -> None:
        """Make the agent end soon."""
        self._channel.wake()

    def is_left(self) -> bool:
        """Whether the client has gone, and the agent only has to notice."""
        return self._channel.is_left()

    def _handshake(self) -> None:
        frame = self._channel.receive()
        if frame.kind != "RODS_CONNECT":
            raise ConnectionLostError(f"first message is {frame.kind}")
        pack = frame.root()
        self._client = (pack.string("clientUser"), pack.string("clientRcatZone"))
        if pack.integer("irodsProt") != 1:
            logger.warning("refused: the binary protocol is not part of the test zone")
            self._channel.send("RODS_VERSION", Code.SYS_INVALID_PROTOCOL_TYPE)
            raise ConnectionLostError("binary protocol")
        if NEGOTIATION in pack.string("option"):
            policy = struct_of("CS_NEG_PI", item("status", 1), item("result", "CS_NEG_REFUSE"))
            self._channel.send("RODS_CS_NEG_T", message=policy)
            if "CS_NEG_FAILURE" in self._channel.receive().root().string("result"):
                raise ConnectionLostError("the client asks for TLS, which is not part of the test zone")
        parts = [item("status", 0), item("relVersion", RELEASE), item("apiVersion", API_VERSION)]
        parts += [item("reconnPort", 0), item("reconnAddr", ""), item("cookie", 400)]
        self._channel.send("RODS_VERSION", message=struct_of("Version_PI", *parts))

    def _answer(self, frame: Frame) -> None:
        api = frame.status
        try:
            self._server.faults.before_call(api)
            reply = self._dispatch(api, frame)
            error = ""
        except IrodsError as failure:
            logger.info("connection %d: call %d: %s", self._number, api, failure)
            reply, error = (
                Reply(failure.code, failure.body),
                error_stack(failure.code, failure.text) if failure.text else "",
            )
        except (ConnectionLostError, AgentCrashError):
            raise
        except Exception as failure:
            logger.exception("connection %d: call %d fails inside the test zone", self._number, api)
            self._server.failures.append(f"call {api}: {failure!r}")
            reply, error = Reply(Code.SYS_LIBRARY_ERROR), error_stack(Code.SYS_LIBRARY_ERROR, repr(failure))
        self._server.note(self._number, api, self._actor, reply.status)
        self._server.faults.before_reply()
        self._channel.send("RODS_API_REPLY", reply.status, reply.message, error, reply.data)

    def _dispatch(self, api: int, frame: Frame) -> Reply:
        if frame.kind != "RODS_API_REQ":
            raise refuse(f"a message of type {frame.kind}")
        handler = HANDLERS.get(api)
        if handler is None:
            raise refuse(f"the call with number {api}")
        if self._actor is None and api not in BEFORE_LOGIN:
            raise IrodsError(Code.SYS_NO_API_PRIV, "not logged in")
        return handler(self, frame.root(), frame.data)

    def _clean_up(self) -> None:
        for statement in self._statements.values():
            statement.close()
        for handle in self._handles.values():
            if self.abandon:
                os.close(handle.fd)
            else:
                objects.close_handle(self._catalogue, self._server.tokens, handle, {}, good=False)
        self._catalogue.close()
        self._channel.close()

    @property
    def actor(self) -> Actor:
        assert self._actor is not None
        return self._actor

    # Logging in

    def authenticate(self, root: Node, _data: bytes) -> Reply:
        request = root.json()
        step = auth.plugin_step(request)
        if step == "auth_agent_auth_request":
            self._challenge = auth.new_challenge()
            return Reply(message=json_reply({**request, "request_result": self._challenge}))
        if step == "auth_agent_auth_response":
            self._log_in((str(request.get("user_name")), str(request.get("zone_name"))), auth.digest_of(request))
            return Reply(message=json_reply(request))
        raise refuse(f"the authentication step {step!r}")

    def challenge(self, _root: Node, _data: bytes) -> Reply:
        self._challenge = auth.new_challenge()
        encoded = base64.b64encode(self._challenge.encode()).decode()
        return Reply(message=struct_of("authRequestOut_PI", item("challenge", encoded)))

    def response(self, root: Node, _data: bytes) -> Reply:
        name, _, zone = root.string("username").partition("#")
        self._log_in((name, zone or self._catalogue.zone()), base64.b64decode(root.string("response")))
        return Reply(message=struct_of("authResponseOut_PI"))

    def _log_in(self, user: tuple[str, str], digest: bytes) -> None:
        actor = auth.log_in(self._catalogue, self._challenge, user, digest)
        if self._client != (actor.name, actor.zone):
            client = self._catalogue.user(*self._client)
            if not actor.is_admin or client is None:
                raise IrodsError(Code.CAT_INVALID_CLIENT_USER, f"{actor.name} may not act as {'#'.join(self._client)}")
            actor = client
        self._actor = actor

    # Queries

    def general_query(self, root: Node, _data: bytes) -> Reply:
        query = Query.read(root)
        if query.continuation:
            return self._next_page(query)
        if query.max_rows <= 0:
            return Reply(message=genquery1.pack_page([], [], 0, 0))
        sql, values = genquery1.compile_query(query, self.actor, self._server.faults.unordered)
        total = 0
        if query.options & genquery1.WITH_TOTAL:
            total = int(self._catalogue.value(f"select count(*) from ({sql})", *values))
        if query.offset:
            sql += f" limit -1 offset {int(query.offset)}"
        return self._page(query, 0, OpenStatement(self._catalogue.open_cursor(sql, values)), total)

    def _next_page(self, query: Query) -> Reply:
        place = query.continuation
        statement = self._statements.get(place)
        if statement is None:
            raise AgentCrashError(f"query {place} belongs to another agent")
        if query.max_rows <= 0:
            self._statements.pop(place).close()
            return Reply(message=genquery1.pack_page([], [], 0, 0))
        if len(statement.cursor.description) != len(query.select):
            raise AgentCrashError(f"query {place} of this agent has other columns")
        return self._page(query, place, statement, 0)

    def _page(self, query: Query, place: int, statement: OpenStatement, total: int) -> Reply:
        rows = statement.cursor.fetchmany(query.max_rows)
        if len(rows) < query.max_rows:
            statement.close()
            self._statements.pop(place, None)
            place = 0
        elif not place:
            place = self._keep(statement)
        if not rows:
            raise IrodsError(Code.CAT_NO_ROWS_FOUND)
        return Reply(message=genquery1.pack_page([number for number, _ in query.select], rows, place, total))

    def _keep(self, statement: OpenStatement) -> int:
        free = next((each for each in range(1, MAX_STATEMENTS + 1) if each not in self._statements), None)
        if free is None:
            statement.close()
            raise IrodsError(Code.CAT_STATEMENT_TABLE_FULL, f"{MAX_STATEMENTS} queries are open")
        statement.reader = self._catalogue.detach_reader()
        self._statements[free] = statement
        return free

    def second_query(self, root: Node, _data: bytes) -> Reply:
        if root.integer("column_mappings"):
            return Reply(message=string_reply(genquery2.column_mappings()))
        zone = root.string("zone")
        if zone and zone != self._catalogue.zone():
            raise refuse(f"a query in the zone {zone!r}")
        text = root.string("query_string")
        if root.integer("sql_only"):
            return Reply(message=string_reply(genquery2.compile_query(text, self.actor)[0]))
        return Reply(message=string_reply(genquery2.run(self._catalogue, self.actor, text)))

    # Data objects

    def _keep_handle(self, handle: objects.Handle) -> Reply:
        free = next(each for each in range(FIRST_DESCRIPTOR, MAX_DESCRIPTORS) if each not in self._handles)
        self._handles[free] = handle
        return Reply(free)

    def _handle(self, number: int) -> objects.Handle:
        handle = self._handles.get(number)
        if handle is None:
            raise IrodsError(Code.SYS_FILE_DESC_OUT_OF_RANGE, f"descriptor {number} is not open")
        return handle

    def open(self, root: Node, _data: bytes) -> Reply:
        path, flags = root.string("objPath"), root.integer("openFlags")
        return self._keep_handle(
            objects.open_object(self._catalogue, self.actor, self._server.tokens, path, flags, root.pairs())
        )

    def create(self, root: Node, _data: bytes) -> Reply:
        path, options = root.string("objPath"), root.pairs()
        flags = objects.RDWR | objects.CREATE | objects.TRUNCATE
        return self._keep_handle(
            objects.open_object(self._catalogue, self.actor, self._server.tokens, path, flags, options)
        )

    def read(self, root: Node, _data: bytes) -> Reply:
        handle = self._handle(root.integer("l1descInx"))
        data = os.pread(handle.fd, min(root.integer("len"), READ_LIMIT), handle.offset)
        handle.offset += len(data)
        return Reply(len(data), data=data)

    def write(self, root: Node, data: bytes) -> Reply:
        handle = self._handle(root.integer("l1descInx"))
        if not handle.writes:
            raise IrodsError(Code.SYS_FILE_DESC_OUT_OF_RANGE, "descriptor is open for reading only")
        written = 0
        while written < len(data):
            written += os.pwrite(handle.fd, memoryview(data)[written:], handle.offset + written)
        handle.offset += written
        handle.wrote = True
        return Reply(written)

    def seek(self, root: Node, _data: bytes) -> Reply:
        handle, offset = self._handle(root.integer("l1descInx")), root.integer("offset")
        base = {0: 0, 1: handle.offset, 2: os.fstat(handle.fd).st_size}.get(root.integer("whence"))
        if base is None or base + offset < 0:
            raise IrodsError(Code.SYS_INVALID_INPUT_PARAM, f"seek to {offset}")
        handle.offset = base + offset
        return Reply(message=struct_of("fileLseekOut_PI", item("offset", handle.offset)))

    def close(self, root: Node, _data: bytes) -> Reply:
        number = root.integer("l1descInx")
        handle = self._handle(number)
        del self._handles[number]
        objects.close_handle(self._catalogue, self._server.tokens, handle, root.pairs())
        return Reply()

    def close_replica(self, root: Node, _data: bytes) -> Reply:
        request = root.json()
        if any(request.get(key) for key in ("update_size", "update_status", "compute_checksum", "send_notification")):
            raise refuse("closing one replica with an update")
        number = int(request.get("fd", -1))
        handle = self._handle(number)
        if handle.is_main:
            raise refuse("closing the first descriptor of a write without an update")
        os.close(self._handles.pop(number).fd)
        return Reply()

    def describe(self, root: Node, _data: bytes) -> Reply:
        handle = self._handle(int(root.json().get("fd", -1)))
        info = {
            "object_path": handle.path,
            "resource_hierarchy": handle.replica.hierarchy,
            "replica_number": handle.replica.number,
            "data_id": handle.replica.data_id,
            "data_size": handle.replica.size,
        }
        return Reply(message=json_reply({"replica_token": handle.token, "data_object_info": info}))

    def unlink(self, root: Node, _data: bytes) -> Reply:
        unregister = root.integer("oprType") == UNREGISTER
        objects.unlink(self._catalogue, self.actor, root.string("objPath"), root.pairs(), unregister)
        return Reply()

    def rename(self, root: Node, _data: bytes) -> Reply:
        source, target = source_and_target(root)
        move = collection.rename if target.integer("oprType") == RENAME_COLLECTION else objects.rename
        move(self._catalogue, self.actor, source.string("objPath"), target.string("objPath"))
        return Reply()

    def copy(self, root: Node, _data: bytes) -> Reply:
        source, target = source_and_target(root)
        paths = (source.string("objPath"), target.string("objPath"))
        objects.copy(self._catalogue, self.actor, self._server.tokens, paths, target.pairs())
        return Reply()

    def replicate(self, root: Node, _data: bytes) -> Reply:
        objects.replicate(self._catalogue, self.actor, root.string("objPath"), root.pairs())
        return Reply()

    def trim(self, root: Node, _data: bytes) -> Reply:
        unregister = root.integer("oprType") == UNREGISTER
        objects.trim(self._catalogue, self.actor, root.string("objPath"), root.pairs(), unregister)
        return Reply()

    def truncate(self, root: Node, _data: bytes) -> Reply:
        self._truncate(root)
        return Reply()

    def truncate_replica(self, root: Node, _data: bytes) -> Reply:
        try:
            replica = self._truncate(root)
        except IrodsError as error:
            error.body = string_reply(json.dumps({"message": error.text, "replica_number": None}))
            raise
        found = {"message": "", "replica_number": replica.number, "resource_hierarchy": replica.hierarchy}
        return Reply(message=string_reply(json.dumps(found)))

    def _truncate(self, root: Node) -> Replica:
        path, size = root.string("objPath"), root.integer("dataSize")
        return objects.truncate(self._catalogue, self.actor, self._server.tokens, path, size, root.pairs())

    def checksum(self, root: Node, _data: bytes) -> Reply:
        found = objects.checksum(self._catalogue, self.actor, root.string("objPath"), root.pairs())
        return Reply(message=string_reply(found) if found else "")

    def register(self, root: Node, _data: bytes) -> Reply:
        options = {"dataSize": root.string("dataSize").replace("-1", "").strip("0") and root.string("dataSize")}
        registration.register(self._catalogue, self.actor, root.string("objPath"), {**options, **root.pairs()})
        return Reply()

    def change_object(self, root: Node, _data: bytes) -> Reply:
        info = next((each for each in root.children if each.tag.lower().startswith("dataobjinfo")), root)
        changes = root.pairs()
        number = None if "all" in changes else info.integer("replNum")
        hierarchy = info.string("rescHier") or info.string("rescName")
        if hierarchy:
            replicas = self._catalogue.existing_object(info.string("objPath"))
            number = objects.choose(self._catalogue, replicas, {"resc_hier": hierarchy}).number
        registration.change_row(self._catalogue, self.actor, info.string("objPath"), number, changes)
        return Reply()

    def resource_info(self, root: Node, _data: bytes) -> Reply:
        replicas = self._catalogue.replicas(root.string("objPath"))
        options = root.pairs()
        if replicas:
            hierarchy = objects.choose(self._catalogue, replicas, options).hierarchy
        else:
            hierarchy = resources.for_new_replica(self._catalogue, options).hierarchy
        return Reply(message=string_reply(json.dumps({"host": self._server.host, "resource_hierarchy": hierarchy})))

    # Collections and time

    def create_collection(self, root: Node, _data: bytes) -> Reply:
        collection.create(self._catalogue, self.actor, root.string("collName"), "recursiveOpr" in root.pairs())
        return Reply()

    def remove_collection(self, root: Node, _data: bytes) -> Reply:
        unregister = root.integer("oprType") == UNREGISTER
        collection.remove(self._catalogue, self.actor, root.string("collName"), root.pairs(), unregister)
        return Reply()

    def touch(self, root: Node, _data: bytes) -> Reply:
        request = root.json()
        with self._catalogue.transaction():
            collection.touch(
                self._catalogue,
                self.actor,
                self._server.tokens,
                str(request["logical_path"]),
                request.get("options") or {},
            )
        return Reply()

    # Metadata, permissions, administration

    def modify_metadata(self, root: Node, _data: bytes) -> Reply:
        arguments = [root.string(f"arg{place}") for place in range(10)]
        metadata.modify(self._catalogue, self.actor, arguments, "irodsAdmin" in root.pairs())
        return Reply()

    def atomic_metadata(self, root: Node, _data: bytes) -> Reply:
        return Reply(message=metadata.apply_atomic(self._catalogue, self.actor, root.json()))

    def modify_access(self, root: Node, _data: bytes) -> Reply:
        user = (root.string("userName"), root.string("zone"))
        recursive = bool(root.integer("recursiveFlag"))
        access.change_access(
            self._catalogue, self.actor, root.string("path"), root.string("accessLevel"), user, recursive
        )
        return Reply()

    def general_admin(self, root: Node, _data: bytes) -> Reply:
        words = [root.string(f"arg{place}") for place in range(10)]
        administration.general_admin(self._catalogue, self.actor, auth.signature(self._challenge), words)
        return Reply()

    def user_admin(self, root: Node, _data: bytes) -> Reply:
        operation, name, option, value = [root.string(f"arg{place}") for place in range(4)]
        if (operation, name, option) != ("userpw", self.actor.name, "password"):
            raise refuse(f"the group administrator's call {operation}")
        client_signature = auth.signature(self._challenge)
        administration.modify_user(self._catalogue, self.actor, client_signature, name, option, value)
        return Reply()

    def rule(self, root: Node, _data: bytes) -> Reply:
        text = root.string("myRule")
        match = SLEEP.fullmatch(text)
        if match is None:
            raise refuse(f"the rule {text[:200]!r}")
        time.sleep(int(match[1]) + int(match[2]) / 1e6)
        return Reply(message=struct_of("MsParamArray_PI", item("paramLen", 0), item("oprType", 0)))

    def features(self, _root: Node, _data: bytes) -> Reply:
        return Reply(message=string_reply(json.dumps({"IRODS_HAS_LIBRARY_GENQUERY2": 1})))

    def hints(self, _root: Node, _data: bytes) -> Reply:
        return Reply(
            message=json_reply(
                {
                    "hash_scheme": "SHA256",
                    "match_hash_policy": "compatible",
                    "plugins": [],
                    "rules": [],
                    "specific_queries": {},
                }
            )
        )


def source_and_target(root: Node) -> tuple[Node, Node]:
    """The two objects of a copy or a move: two messages of the same kind, one after the other."""
    found = [each for each in root.children if each.tag == "DataObjInp_PI"]
    if len(found) != 2:
        raise IrodsError(Code.SYS_INVALID_INPUT_PARAM, "expected a source and a target")
    return found[0], found[1]


Handler = Callable[[Agent, Node, bytes], Reply]
HANDLERS: dict[int, Handler] = {
    110000: Agent.authenticate,
    703: Agent.challenge,
    704: Agent.response,
    702: Agent.general_query,
    10221: Agent.second_query,
    601: Agent.create,
    602: Agent.open,
    675: Agent.read,
    676: Agent.write,
    674: Agent.seek,
    673: Agent.close,
    20004: Agent.close_replica,
    20000: Agent.describe,
    615: Agent.unlink,
    627: Agent.rename,
    696: Agent.copy,
    695: Agent.replicate,
    632: Agent.trim,
    652: Agent.truncate,
    802: Agent.truncate_replica,
    629: Agent.checksum,
    630: Agent.register,
    622: Agent.change_object,
    10220: Agent.resource_info,
    681: Agent.create_collection,
    679: Agent.remove_collection,
    20007: Agent.touch,
    706: Agent.modify_metadata,
    20002: Agent.atomic_metadata,
    707: Agent.modify_access,
    701: Agent.general_admin,
    714: Agent.user_admin,
    625: Agent.rule,
    801: Agent.features,
    10215: Agent.hints,
}
