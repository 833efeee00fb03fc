"""Checking an export against the disk, and jobs against their records; shares no code with what writes them."""
