"""The server's error codes, and the one exception that carries a code to the client.

Knows nothing of who raises it or of the wire.
"""

from __future__ import annotations

import enum
import logging

logger = logging.getLogger("irods_zone")


class Code(enum.IntEnum):
    """Error codes as iRODS numbers them; the operating system's errno is subtracted where there is one."""

    SYS_NO_API_PRIV = -13000
    SYS_FILE_DESC_OUT_OF_RANGE = -19000
    SYS_NOT_SUPPORTED = -66000
    SYS_RESC_DOES_NOT_EXIST = -78000
    SYS_INVALID_FILE_PATH = -31000
    SYS_INVALID_RESC_TYPE = -30000
    SYS_INVALID_PROTOCOL_TYPE = -85000
    SYS_INVALID_INPUT_PARAM = -130000
    SYS_REPLICA_DOES_NOT_EXIST = -164000
    SYS_LIBRARY_ERROR = -167000
    SYS_REPLICA_INACCESSIBLE = -168000
    OVERWRITE_WITHOUT_FORCE_FLAG = -312000
    USER_CHKSUM_MISMATCH = -314000
    USER_INPUT_PATH_ERR = -317000
    OBJ_PATH_DOES_NOT_EXIST = -358000
    CHECK_VERIFICATION_RESULTS = -407000
    UNIX_FILE_OPEN_ERR = -510000
    UNIX_FILE_TRUNCATE_ERR = -529000
    CAT_SQL_ERR = -806000
    CAT_GET_ROW_ERR = -807000
    CAT_NO_ROWS_FOUND = -808000
    CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME = -809000
    CAT_UNKNOWN_COLLECTION = -814000
    CAT_INVALID_ARGUMENT = -816000
    CAT_UNKNOWN_FILE = -817000
    CAT_NO_ACCESS_PERMISSION = -818000
    CAT_SUCCESS_BUT_WITH_NO_INFO = -819000
    CAT_INVALID_USER_TYPE = -820000
    CAT_COLLECTION_NOT_EMPTY = -821000
    CAT_UNKNOWN_TABLE = -823000
    CAT_FAILED_TO_LINK_TABLES = -825000
    CAT_INVALID_AUTHENTICATION = -826000
    CAT_INVALID_USER = -827000
    CAT_INVALID_GROUP = -829000
    CAT_INVALID_RESOURCE = -831000
    CAT_INVALID_CLIENT_USER = -832000
    CAT_NAME_EXISTS_AS_COLLECTION = -833000
    CAT_NAME_EXISTS_AS_DATAOBJ = -834000
    CAT_LAST_REPLICA = -838000
    CAT_STATEMENT_TABLE_FULL = -860000
    CAT_NO_CHECKSUM_FOR_REPLICA = -862000
    HIERARCHY_ERROR = -1803000
    DIRECT_CHILD_ACCESS = -1816000


class IrodsError(Exception):
    """A request that fails.

    Parameters
    ----------
    code
        What the client is told.
    text
        Where and what, for the log and for the client's error stack.
    body
        A packed message to send beside the code, where the server does so.
    """

    def __init__(self, code: int, text: str = "", body: str = "") -> None:
        super().__init__(f"{name_of(code)}: {text}" if text else name_of(code))
        self.code = int(code)
        self.text = text
        self.body = body


class AgentCrashError(Exception):
    """The real server's agent dies at this point; the client sees a lost connection."""


def name_of(code: int) -> str:
    """Name of an error code with its errno, if it has one."""
    known = {int(each): each.name for each in Code}
    return known.get(code) or known.get(-((-code) // 1000 * 1000), str(code))


def refuse(what: str, code: int = Code.SYS_NOT_SUPPORTED) -> IrodsError:
    """Error for something that a real server does and this one does not; the log line names it."""
    logger.warning("refused: %s is not part of the test zone", what)
    return IrodsError(code, f"{what} is not part of the test zone")
