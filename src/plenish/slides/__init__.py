"""Whole-slide images: reading, tissue, annotations, tiling into Datasets. Nothing here imports torch."""
