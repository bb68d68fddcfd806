"""The quick measures of a model while it trains."""

import numpy as np

from minigan import backend, data
from minigan.metrics import judges
from minigan.runs.models import preview, shows_examples


class Evaluation:
    """The quick measures of a model's samples, drawn from the same random numbers and judged beside
    the same training data every time. ValueError for data that cannot be judged."""

    def __init__(self, model, x, options):
        self.model, self.seed, self.source = model, options["seed"], options["data"]
        self.n = min(2000 if data.is_image(x.shape[1:]) else 2500, len(x))
        chosen = judges.some(x, self.n, backend.Streams(self.seed)["evaluation reals"])
        self.judge = judges.judge_for(options["data"], chosen, options["classifier"],
                                      pairs=shows_examples(model))
        judges.quick(self.judge, chosen)  # now, not hundreds of steps later

    def __call__(self):
        drawn = self.model.draw(self.n, preview(self.seed))
        drawn = drawn._replace(x=backend.to_numpy(drawn.x))
        beside = [] if drawn.targets is None else judges.beside_targets(drawn, self.source)
        if not np.isfinite(drawn.x).all():
            raise ArithmeticError("the generator's samples are not finite after step "
                                  f"{self.model.steps}")
        return judges.quick(self.judge, drawn.x, [*beside, *self.model.measures(drawn, self.judge)])
