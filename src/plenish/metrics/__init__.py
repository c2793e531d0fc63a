"""How good, how varied and how honest synthetic images are, with intervals and provenance."""
