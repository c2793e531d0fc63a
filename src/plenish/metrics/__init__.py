"""How good, how varied and how honest synthetic images are, each score with its interval and its provenance."""
