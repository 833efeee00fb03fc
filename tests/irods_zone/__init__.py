"""An in-process server that speaks the iRODS protocol to an unmodified python-irodsclient.

Only what the client's own tests and ours ask for; anything else is refused, with one of the server's error codes and a
log line.
"""

from __future__ import annotations

from irods_zone.errors import Code, IrodsError
from irods_zone.faults import Faults
from irods_zone.server import Call
from irods_zone.synthetic import Population
from irods_zone.zone import Zone

__all__ = ["Call", "Code", "Faults", "IrodsError", "Population", "Zone"]
