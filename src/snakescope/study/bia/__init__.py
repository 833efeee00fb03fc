"""The study as the BioImage Archive's own RO-Crate."""
