"""Framing and the XML of the protocol: four bytes of length, a header, then message, errors and bytes.

The XML is the server's own dialect: no attributes, no declaration, and any byte may stand in a text, also control
characters, so neither side of it can be left to an XML library. Knows nothing of what a message means.
"""

from __future__ import annotations

import base64
import json
import re
import select
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

from irods_zone.errors import Code, IrodsError
from irods_zone.faults import Faults

TAG = re.compile(r"<(/?[A-Za-z_]\w*)>")
ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&"))
HEADER_LIMIT = 1 << 16
LEFT = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


class ConnectionLostError(Exception):
    """The other side went away, or a fault on request cut the line."""


@dataclass
class Node:
    """One element: a text, or children in order."""

    tag: str
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def child(self, tag: str) -> Node:
        """First child of that name; an empty element where there is none."""
        return next((each for each in self.children if each.tag == tag), Node(tag))

    def all(self, tag: str) -> list[str]:
        """Texts of all children of that name."""
        return [each.text for each in self.children if each.tag == tag]

    def string(self, tag: str) -> str:
        return self.child(tag).text

    def integer(self, tag: str) -> int:
        text = self.child(tag).text
        return int(text) if text else 0

    def pairs(self, tag: str = "KeyValPair_PI") -> dict[str, str]:
        """A key-value message as a dictionary."""
        node = self.child(tag)
        return dict(zip(node.all("keyWord"), node.all("svalue"), strict=False))

    def json(self) -> dict[str, Any]:
        """Content of a byte buffer that carries JSON."""
        try:
            content = json.loads(base64.b64decode(self.string("buf")).rstrip(b"\0"))
        except ValueError as error:
            raise IrodsError(Code.SYS_INVALID_INPUT_PARAM, f"{self.tag}: not JSON ({error})") from error
        if not isinstance(content, dict):
            raise IrodsError(Code.SYS_INVALID_INPUT_PARAM, f"{self.tag}: JSON is not an object")
        return content


def parse(data: bytes) -> Node:
    """Read one packed message; bytes that are not UTF-8 become lone surrogates, which the catalogue refuses."""
    pieces = TAG.split(data.decode("utf-8", "surrogateescape").rstrip("\0"))
    root = Node("")
    stack = [root]
    for index in range(1, len(pieces), 2):
        tag, text = pieces[index], pieces[index + 1]
        if tag.startswith("/"):
            closed = stack.pop()
            if closed.tag != tag[1:] or not stack:
                raise IrodsError(Code.SYS_INVALID_INPUT_PARAM, f"message closes <{closed.tag}> with <{tag}>")
        else:
            node = Node(tag, unescape(text))
            stack[-1].children.append(node)
            stack.append(node)
    if len(stack) != 1 or len(root.children) != 1:
        raise IrodsError(Code.SYS_INVALID_INPUT_PARAM, "message is not one closed element")
    return root.children[0]


def unescape(text: str) -> str:
    """Undo the five entities; the ampersand last."""
    if "&" in text:
        for entity, character in ENTITIES:
            text = text.replace(entity, character)
    return text


def escape(text: str) -> str:
    """Write the five entities and nothing else: control characters travel as they are, as from the real server."""
    for entity, character in reversed(ENTITIES):
        if character in text:
            text = text.replace(character, entity)
    return text


def item(tag: str, value: object) -> str:
    """Pack one text element."""
    return f"<{tag}>{escape(str(value))}</{tag}>"


def struct_of(tag: str, *parts: str) -> str:
    """Pack an element around already packed parts."""
    return f"<{tag}>{''.join(parts)}</{tag}>"


def string_reply(text: str) -> str:
    """Pack a plain string answer."""
    return struct_of("STR_PI", item("myStr", text))


def json_reply(content: object) -> str:
    """Pack a JSON answer in a byte buffer, NUL-terminated as the server does."""
    raw = json.dumps(content).encode() + b"\0"
    return struct_of("BinBytesBuf_PI", item("buflen", len(raw)), item("buf", base64.b64encode(raw).decode()))


def error_stack(code: int, text: str) -> str:
    """Pack the error messages that travel beside a negative status."""
    line = struct_of("RErrMsg_PI", item("status", code), item("msg", text[:1000]))
    return struct_of("RError_PI", item("count", 1), line)


@dataclass
class Frame:
    """One message as received."""

    kind: str
    status: int
    message: bytes
    data: bytes

    def root(self) -> Node:
        """The message as a tree; an empty element for a message without body."""
        return parse(self.message) if self.message else Node("")


class Channel:
    """One TCP connection, read and written in whole messages, with the faults of the zone applied to its bytes."""

    def __init__(self, sock: socket.socket, faults: Faults) -> None:
        self._socket = sock
        self._faults = faults
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def receive(self) -> Frame:
        """Wait for the next message."""
        (length,) = struct.unpack(">i", self._exactly(4))
        if not 0 < length < HEADER_LIMIT:
            raise ConnectionLostError(f"header of {length} bytes")
        header = parse(self._exactly(length))
        message = self._exactly(header.integer("msgLen"))
        self._exactly(header.integer("errorLen"))
        data = self._exactly(header.integer("bsLen"))
        return Frame(header.string("type"), header.integer("intInfo"), message, data)

    def send(self, kind: str, status: int = 0, message: str = "", error: str = "", data: bytes = b"") -> None:
        """Send one message."""
        body, stack = message.encode("utf-8", "surrogateescape"), error.encode("utf-8", "surrogateescape")
        header = struct_of(
            "MsgHeader_PI",
            item("type", kind),
            item("msgLen", len(body)),
            item("errorLen", len(stack)),
            item("bsLen", len(data)),
            item("intInfo", status),
        ).encode()
        self._write(struct.pack(">i", len(header)) + header + body + stack + data)

    def wake(self) -> None:
        """Make a thread that waits in `receive` return; it closes the socket itself."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def is_left(self) -> bool:
        """Whether the client has closed its side, be it that nobody has read its last words yet."""
        poll = select.poll()
        try:
            poll.register(self._socket, LEFT)
        except ValueError:  # closed on this side, too
            return True
        return bool(poll.poll(0))

    def close(self) -> None:
        self._socket.close()

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size > 0:
            try:
                part = self._socket.recv(min(size, 1 << 20))
            except OSError as error:
                raise ConnectionLostError(str(error)) from error
            if not part:
                raise ConnectionLostError("closed by the client")
            if self._faults.take(len(part)) < len(part):
                self._reset()
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _write(self, data: bytes) -> None:
        allowed = self._faults.take(len(data))
        try:
            self._socket.sendall(memoryview(data)[:allowed])
        except OSError as error:
            raise ConnectionLostError(str(error)) from error
        if allowed < len(data):
            self._reset()

    def _reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()
        raise ConnectionLostError("cut by a fault on request")
