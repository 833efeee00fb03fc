"""The submission to the BioImage Archive: PageTab, file lists, and our check of both."""
