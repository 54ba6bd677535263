"""A detector on whole scans: boxes in slices, and the findings that they are parts of."""
