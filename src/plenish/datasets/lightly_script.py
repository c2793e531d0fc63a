"""Opens this folder in LightlyStudio: `pip install lightly-studio`, then `python open_in_lightly.py`.

The first time, LightlyStudio's database is filled from samples.jsonl and embeddings/: images, parts of the
split as tags, classes as annotations, all columns as metadata, and one of the embeddings. Afterwards it is
only opened; remove the file of the database to fill it again.

`plenish export --as lightly` puts this file beside what it wrote.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

_BATCH = 1000


def fill(folder: Path, embedding: str | None = None) -> Any:
    """Fill the database that LightlyStudio is connected with.

    Args:
        folder: this folder.
        embedding: which of the embeddings images are placed and searched by; by default the first.

    Returns:
        The lightly_studio.ImageDataset.
    """
    import lightly_studio as ls

    folder = Path(folder).absolute()
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    samples = [json.loads(line) for line in (folder / "samples.jsonl").open(encoding="utf-8")]
    paths = [(folder / sample["file"]).as_posix() for sample in samples]
    known = about["embeddings"]
    if embedding not in (None, *known):
        raise SystemExit(f"There is no embedding '{embedding}' in {folder}; known are: {', '.join(known)}.")
    embedding = embedding or next(iter(known), None)
    if embedding is not None:
        ls.register_default_embedder(_embedder(folder / known[embedding]["file"], embedding, paths))
    dataset = ls.ImageDataset.create(about["name"])
    dataset.add_images_from_path(folder / "images", embed=embedding is not None)
    ids = {sample.file_path_abs: sample.sample_id for sample in dataset}
    for start in range(0, len(samples), _BATCH):
        some = range(start, min(len(samples), start + _BATCH))
        dataset.update_metadata([(ids[paths[i]], samples[i]["metadata"]) for i in some if paths[i] in ids])
    _label(dataset, [(ids[path], sample) for path, sample in zip(paths, samples) if path in ids])
    return dataset


def _embedder(file: Path, name: str, paths: list[str]) -> Any:
    """What gives LightlyStudio the vectors of the images at these paths; those with NaN are left out."""
    import lightly_studio as ls
    from lightly_studio_serve.embedder import ImagePathEmbedder

    vectors = np.load(file, mmap_mode="r")
    rows = {path: row for row, path in enumerate(paths)}

    class Stored(ImagePathEmbedder):  # type: ignore[misc]
        def embedding_space_spec(self) -> Any:
            return ls.EmbeddingSpaceSpec(space_key=f"plenish/{name}", dimension=vectors.shape[1])

        def embed_images(self, paths: list[str]) -> Any:
            found = np.stack([vectors[rows[path]] for path in paths])
            kept = np.flatnonzero(np.isfinite(found).all(1))
            return ls.EmbeddingResult(embeddings=found[kept], kept_indices=kept.tolist())

    return Stored()


def _label(dataset: Any, samples: list[tuple[Any, dict[str, Any]]]) -> None:
    """Tags and classes of samples, given by id."""
    from lightly_studio.core.annotation.annotation_create import CreateClassification
    from lightly_studio.resolvers import annotation_resolver, tag_resolver

    session, collection = dataset.session, dataset.collection_id
    tagged, labelled = defaultdict(list), defaultdict(list)
    for sample_id, sample in samples:
        for tag in sample["tags"]:
            tagged[tag].append(sample_id)
        for name in sample["classes"]:
            labelled[name].append(sample_id)
    for tag, found in tagged.items():
        made = tag_resolver.get_or_create_sample_tag_by_name(session, collection, tag)
        tag_resolver.add_sample_ids_to_tag_id(session, made.tag_id, found)
    for name, found in labelled.items():
        first = CreateClassification(class_name=name).to_annotation_create(
            session=session, dataset_id=dataset.dataset_id, parent_sample_id=found[0]
        )
        for start in range(0, len(found), _BATCH):
            some = [
                first.model_copy(update={"parent_sample_id": one}) for one in found[start : start + _BATCH]
            ]
            annotation_resolver.create_many(session, collection, some)


def main() -> None:
    """Fill the database, unless it is there, and start LightlyStudio."""
    parser = argparse.ArgumentParser(description="Open this folder in LightlyStudio.")
    parser.add_argument("--embedding", help="which of embeddings/ to use; by default the first")
    parser.add_argument("--db", type=Path, help="the database; by default lightly_studio.db in this folder")
    parser.add_argument("--no-gui", action="store_true", help="only fill the database")
    options = parser.parse_args()
    import lightly_studio as ls

    folder = Path(__file__).absolute().parent
    db = (options.db or folder / "lightly_studio.db").absolute()
    if not db.exists():
        partial = db.with_name(f"{db.stem}.partial{db.suffix}")
        ls.db_manager.connect(db_file=str(partial), cleanup_existing=True)
        fill(folder, options.embedding)
        ls.db_manager.close()
        partial.rename(db)
    ls.db_manager.connect(db_file=str(db), must_exist=True)
    if not options.no_gui:
        ls.start_gui()


if __name__ == "__main__":
    main()
