"""All that talks to iRODS: addresses, sessions, listings, transfers. No other part opens a connection to a zone.

Importing it connects to nothing.
"""
