"""The study: from records to REMBI, a run crate and an archive submission."""
