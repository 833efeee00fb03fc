"""One archive with all that a pipeline needs, for a site without the internet: written, read, checked and tried."""
