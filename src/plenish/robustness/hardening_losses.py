"""What hardening adds to a classifier's loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def divergence(logits: Tensor, changed: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(p ‖ q) of the answers p and q to images and to changed ones, N.

    The second term of TRADES (Zhang et al., ICML 2019, equation 5 with the divergence of its section 5).

    Args:
        logits: of the images, N×K.
        changed: of the changed images, N×K.
    """
    before, after = (functional.log_softmax(values, dim=1) for values in (logits, changed))
    return functional.kl_div(after, before, reduction="none", log_target=True).sum(1)


def strongest_other(logits: Tensor, labels: Tensor) -> Tensor:
    """−log(1 − p), p the highest probability of a class that is not the image's own, N.

    What makes cross-entropy the boosted one of MART (Wang et al., ICLR 2020, equation 8).

    Args:
        logits: N×K, K ≥ 2.
        labels: N.
    """
    classes = logits.shape[1]
    own = functional.one_hot(labels, classes).bool()
    strongest = logits.masked_fill(own, -float("inf")).argmax(1)
    taken = functional.one_hot(strongest, classes).bool()
    # By the other probabilities: 1 − p rounds to 0, without a gradient, for an image surely another class.
    return -functional.log_softmax(logits, dim=1).masked_fill(taken, -float("inf")).logsumexp(1)


def mart(logits: Tensor, changed: Tensor, labels: Tensor, beta: float) -> Tensor:
    """What MART adds to the loss of adversarial images: equation 11 of Wang et al. without cross-entropy, N.

    −log(1 − max_{k≠y} q_k) + β · KL(p ‖ q) · (1 − p_y), p the answer to an image, q that to its attacked one.

    Args:
        logits: of the images, N×K.
        changed: of the adversarial images, N×K.
        labels: N.
        beta: weight of the second term.
    """
    missed = 1 - functional.softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
    return strongest_other(changed, labels) + beta * divergence(logits, changed) * missed
