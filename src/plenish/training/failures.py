"""What can go wrong in a training, as data; `Failure.message` makes the words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

CALMER = (
    "lower --lr, or raise adversarial.smoothing or penalty.r1 with --options (to 0.1 and 1 where they are 0)"
)
GENTLER_D = (
    "try --options adversarial.noise_sd=0.1 adversarial.noise_kimg=100, a smaller adversarial.lr_d, "
    "adversarial.fake_as_real=0.1 or augment.diffaugment=color,translation"
)
MORE_SIGNAL = (
    "try --options adversarial.objective=relativistic penalty.r1=1 penalty.r2=1, "
    "adversarial.noise_sd=0.1 adversarial.noise_kimg=100, or a smaller adversarial.lr_d"
)
MORE_VARIETY = (
    "try a larger --batch, another --seed, or "
    "--options adversarial.objective=relativistic penalty.r1=1 penalty.r2=1"
)

WORDS = {
    "weights-not-finite": "the weights of '{network}' are no longer finite numbers; lower {rate}",
    "loss-not-finite": "the loss is no longer a finite number; lower {rate}",
    "not-finite": f"{{name}} is no longer a finite number; {CALMER}, or use another --seed",
    "exploded": f"{{what}} exploded ({{value:.3g}}{{compared}}); {CALMER}",
    "discriminator-won": "the discriminator won outright, since {since:g} kimg ({what} is {value:.2g}); "
    + GENTLER_D,
    "gradients-vanished": f"{{what}} vanished, since {{since:g}} kimg (norm {{value:.2g}}); {MORE_SIGNAL}",
    "losses-constant": f"both losses are constant, since {{since:g}} kimg: gradients vanished; {MORE_SIGNAL}",
    "layers-vanished": "{what} vanished in {dead} of {of} layers, those near the input, since {since:g} kimg "
    f"({{layers}}: norm {{value:.2g}}, last layer {{last:.2g}}); {MORE_SIGNAL}",
    "unstable": f"{{what}} is unstable, since {{since:g}} kimg ({{value:.3g}}{{compared}}); {CALMER}",
    "collapsed": "the samples are nearly alike, since {since:g} kimg (spread {value:.2g} of that of real "
    f"images); {MORE_VARIETY}",
}
"""The sentence of each failure code, filled in from its values."""
NAMES = {
    "loss_g": "the generator's loss", "loss_d": "the discriminator's loss",
    "grad_g": "the norm of the generator's gradients", "grad_d": "the norm of the discriminator's gradients",
    "d_fake": "its mean probability that a fake is real",
    "margin": "its mean score of reals above that of fakes",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Failure:
    """What went wrong.

    Attributes:
        code: which failure, a key of `WORDS`.
        since: kimg of the first log line that shows it; what was saved before that is still good.
        values: what its sentence needs, such as `name` of the logged value, its `value`, its `usual` value,
            what `guessing` costs, or the option that sets the learning `rate`.
    """

    code: str
    since: float
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def message(self) -> str:
        """One line: what happened, since when, and what to try."""
        compared = {"usual": ", usually {:.3g}", "guessing": ", guessing would cost {:.2g}"}
        words = [text.format(self.values[name]) for name, text in compared.items() if name in self.values]
        layers = self.values.get("layers", ())
        return WORDS[self.code].format(
            **{
                "rate": "--lr",
                **self.values,
                "since": self.since,
                "what": NAMES.get(self.values.get("name", ""), ""),
                "compared": "".join(words),
                "dead": len(layers),
                "layers": ", ".join(layers[:3]) + (", …" if len(layers) > 3 else ""),
            }
        )
