"""What is in an archive: stated and seen body parts, geometry, completeness, one row a series."""
