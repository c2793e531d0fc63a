"""`plenish translate`."""
