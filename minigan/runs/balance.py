"""Has one side won? Then the other has nothing left to learn from."""

from minigan.tensor import Tensor, no_grad

SHARE = 0.015            # of the loss at a tie: as good as none
LINES, STEPS = 5, 200    # of the log, in a row, before it is said


class Balance:
    """Watches the losses of an objective whose scores have an undecided middle; the others, a
    Wasserstein critic's, have no such end."""

    def __init__(self, objective):
        self.ties = {}
        undecided = getattr(objective, "undecided", None)
        if undecided is not None:
            score = Tensor([undecided])
            with no_grad():
                self.ties = {"discriminator": objective.discriminator_loss(score, score).item(),
                             "generator": objective.generator_loss(score).item()}
        self.since = {}    # side: the logged steps, in a row, in which its loss was nearly 0
        self.said = set()  # sides

    def __call__(self, record):
        """A line, once a side has won for long; else None."""
        for side, tie in self.ties.items():
            loss = record[f"{side[0]}_loss"]
            if side in self.said:
                continue
            if tie <= 0 or not 0 <= loss < SHARE * tie:
                self.since.pop(side, None)
                continue
            steps = self.since.setdefault(side, [])
            steps.append(record["step"])
            if len(steps) >= LINES and steps[-1] - steps[0] >= STEPS:
                self.said.add(side)
                return (f"the {side} has won: its loss is {loss:.2g}, at a tie {tie:.2g}, since "
                        f"step {steps[0]}. {ADVICE[side]}")
        return None


ADVICE = {
    "discriminator": "It tells samples from data at once, so that the generator hardly learns. "
                     "What may help: a lower --lr-d, more data, --mirror, --objective wgan-gp",
    "generator": "It is taken for real at once, so that neither learns. What may help: a lower "
                 "--lr-g, a higher --lr-d, a larger --n-critic"}
