"""What a run looks like while it trains, drawn into its folder."""

import numpy as np

from minigan import backend, data, ops
from minigan.autograd import grad
from minigan.data.files import tell
from minigan.model import WAY
from minigan.pictures import examples, plots, report
from minigan.runs import models, run_folder
from minigan.runs.spreadsheet import write_csv
from minigan.runs.statistics import Statistics
from minigan.tensor import Tensor
from minigan.trainer import GANTrainer

BLOCK = 256  # samples that the discriminator is shown at once
PER_CLASS, MOST_CLASSES = 8, 16  # in a picture of classes, a row for each
EXAMPLES, SIDES = 32, 4  # in a picture of what is made of examples: how many, and in a row


class Pictures:
    """What a run looks like, drawn into its folder."""

    def __init__(self, folder, model, x, options):
        self.folder, self.model, self.image = folder, model, data.is_image(x.shape[1:])
        self.statistics = Statistics(folder)
        self.n, self.seed = 64 if self.image else 2500, options["seed"]
        stream = backend.Streams(options["seed"])["preview reals"]
        chosen = stream.permutation(len(x))[:self.n]
        self.reals = data.to_unit(x[np.sort(chosen)])

    def reals_once(self):
        plots.save_samples(self.folder / "reals.png", self.reals, generated=False)

    def snapshot(self, step):
        """samples/NNNNNN.png: what is drawn from the same random numbers every time. Of images also
        interpolation.png, a walk through what has been learned, and NAME.png of each exhibit.
        report.html as far as it goes."""
        path = self.folder / "samples" / f"{step:06d}.png"
        drawn = shown(self.model, self.n, self.seed)
        samples = backend.to_numpy(drawn.x)
        if models.shows_examples(self.model):
            examples.save_examples(path, drawn._replace(x=samples), SIDES)
        elif self.image:
            plots.save_grid(path, samples, None if drawn.labels is None else PER_CLASS)
        elif samples.shape[1] != 2 or not isinstance(self.model, GANTrainer):
            plots.save_points(path, samples, self.reals)
        else:
            plots.save_game(path, samples, self.reals, self._feedback, self._from_plane,
                            getattr(self.model.objective, "undecided", None),
                            "score" if self.model.pack == 1
                            else f"score beside {self.model.pack - 1} copies")
        if self.image and self.model.walk is not None:
            between = self.model.walk(models.preview(self.seed))
            plots.save_grid(self.folder / "interpolation.png", backend.to_numpy(between.x), WAY)
        for name, rows in self.model.exhibits(models.preview(self.seed)).items():
            plots.save_grid(self.folder / f"{name}.png", rows.reshape(-1, *rows.shape[2:]),
                            rows.shape[1])
        lines = self.statistics.read()
        report.write(self.folder, report.FRAMES_IN_TRAINING, lines)
        write_csv(self.folder, lines)

    def _feedback(self, points):
        return [backend.to_numpy(array) for array in feedback(self.model, points)]

    def _from_plane(self, z):
        """Points of the plane of the first two latent numbers, the others 0 → samples."""
        noise = np.zeros((len(z), self.model.latent), np.float32)
        noise[:, :2] = z[:, :noise.shape[1]]
        return backend.to_numpy(self.model.sample(noise))

    def finish(self):
        """losses.png, the whole report.html and, last of all, progress.gif."""
        plots.save_losses(self.folder / "losses.png", self.statistics.read(),
                          self.model.headline)
        report.write(self.folder, lines=self.statistics.read())
        skipped = plots.save_gif(self.folder / "progress.gif", run_folder.snapshots(self.folder))
        if skipped:
            tell(f"{len(skipped)} snapshots are not in progress.gif, for they cannot be read (such "
                 f"as {skipped[0]})")

    def finished(self):
        """Whether `finish` has come to its end since the newest checkpoint was written."""
        try:
            drawn = (self.folder / "progress.gif").lstat().st_mtime
            return (self.folder / "losses.png").exists() and drawn >= max(
                path.stat().st_mtime for path in run_folder.checkpoints(self.folder))
        except OSError:
            return False


def shown(model, n, seed):
    """Some n samples for a picture; of a model that can be asked for a class PER_CLASS of each, of
    the first MOST_CLASSES; of one that is given pictures or captions what becomes of EXAMPLES."""
    if models.shows_examples(model):
        return model.draw(EXAMPLES, models.preview(seed))
    if "label" not in models.asks(model) or not model.label_names():
        return model.draw(n, models.preview(seed))
    labels = np.repeat(np.arange(min(MOST_CLASSES, len(model.label_names()))), PER_CLASS)
    return model.draw(len(labels), models.preview(seed), label=labels)


def feedback(model, samples):
    """What the discriminator tells the generator about samples (N, …): their scores, (N,), and for
    each one −∂(its share of the generator's loss)/∂(sample), (N, …): the way it would have to move,
    and how strong the pull is. A discriminator of packs is shown packs of one sample and its
    copies; one of pairs compares each with a real sample of the same score. Training is not
    disturbed."""
    x = Tensor(backend.asarray(samples, model.generator.parameters()[0].dtype),
               requires_grad=True)
    model.discriminator.eval()
    try:  # in blocks, for a discriminator that compares samples needs the square of their number
        blocks = [x[begin:begin + BLOCK] for begin in range(0, len(x), BLOCK)]
        scores = ops.concatenate(*[model.discriminator(
            ops.concatenate(*[block] * model.pack, axis=-1)) for block in blocks])
    finally:
        model.discriminator.train()
    beside = [scores.detach()] if getattr(model.objective, "paired", False) else []
    [slope] = grad(model.objective.generator_loss(scores, *beside), x)
    return scores.data.reshape(-1), -len(x) * slope.data
