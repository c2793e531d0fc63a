"""Processes of their own for tests that kill or divide a training."""

from __future__ import annotations

import multiprocessing

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "plenish.commands.train_generator", "plenish.commands.train_autoencoder",
        "plenish.training.gan.learner", "plenish.training.flow", "plenish.training.autoencoder",
        "plenish.training.classifier", "plenish.report.build", "matplotlib.figure",
    ]
)  # fmt: skip
"""Forks processes that need not load torch anew; Python has one such server and list, shared by all tests."""
