"""VQ-GAN, Esser et al. 2021, arXiv:2012.09841, both stages, with PyTorch's own distances, losses,
gradients and attention."""

import torch
from torch.nn.functional import cross_entropy, mse_loss, relu

from benchmarks.reference import converted, loaded
from benchmarks.twins import adam, descend


class Residual(torch.nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.residual = converted(ours)

    def forward(self, x):
        return x + self.residual(x)


def pieces(ours):
    """A network with residual blocks."""
    found, plain = [], []
    for layer in [*ours, None]:
        if layer is None or hasattr(layer, "residual"):
            found.extend(converted(type(ours)(*plain)))
            plain = []
            if layer is not None:
                found.append(Residual(layer.residual))
        else:
            plain.append(layer)
    return torch.nn.Sequential(*found)


class Block(torch.nn.Module):
    """Pre-norm, with PyTorch's multi-head attention."""

    def __init__(self, ours):
        super().__init__()
        attention, C = ours.attention, ours.norm.weight.size
        self.norm = torch.nn.LayerNorm(C)
        self.attention = torch.nn.MultiheadAttention(C, attention.heads, batch_first=True)
        self.perceptron = torch.nn.Sequential(
            torch.nn.LayerNorm(C), torch.nn.Linear(C, 4 * C), torch.nn.ReLU(),
            torch.nn.Linear(4 * C, C))
        loaded(self.norm, ours.norm), loaded(self.perceptron, ours.perceptron)
        loaded(self.attention.out_proj, attention.mix)
        three = attention.query, attention.key, attention.value
        stacked = lambda name: torch.cat([
            torch.from_numpy(getattr(layer, name).numpy().T.copy()) for layer in three])
        self.attention.in_proj_weight.data = stacked("weight")
        self.attention.in_proj_bias.data = stacked("bias")

    def forward(self, x):
        y = self.norm(x)
        later = torch.nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
        x = x + self.attention(y, y, y, attn_mask=later, need_weights=False)[0]
        return x + self.perceptron(x)


class Transformer(torch.nn.Module):
    """Codes (N, T) → logits (N, T, K). The start token is the last row of the embedding."""

    def __init__(self, ours):
        super().__init__()
        table = torch.cat([torch.from_numpy(p.numpy().reshape(-1, p.shape[-1]).copy())
                           for p in (ours.embedding, ours.start)])
        self.embedding = torch.nn.Embedding.from_pretrained(table, freeze=False)
        self.positions = torch.nn.Parameter(torch.from_numpy(ours.positions.numpy().copy()))
        self.blocks = torch.nn.Sequential(*map(Block, ours.blocks))
        K, C = ours.embedding.shape
        self.last = torch.nn.Sequential(torch.nn.LayerNorm(C), torch.nn.Linear(C, K))
        loaded(self.last, ours.last)

    def forward(self, codes):
        start = torch.full_like(codes[:, :1], self.embedding.num_embeddings - 1)
        before = torch.cat([start, codes[:, :-1]], 1)
        return self.last(self.blocks(self.embedding(before) + self.positions))


class Codebook(torch.nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.rows = torch.nn.Parameter(torch.from_numpy(ours.rows.numpy().copy()))


class Twin:
    def __init__(self, model, streams):
        self.streams, self.first = streams, model.first
        self.begin, self.renew = model.begin * model.first, model.renew
        self.beta, self.weight = model.commitment, model.adversarial
        self.encoder, self.decoder = pieces(model.encoder), pieces(model.decoder)
        self.codebook, self.D = Codebook(model.codebook), converted(model.discriminator)
        self.transformer = Transformer(model.transformer)
        self.networks = {"encoder": self.encoder, "decoder": self.decoder,
                         "codebook": self.codebook, "discriminator": self.D,
                         "transformer": self.transformer}
        for network in self.networks.values():
            network.double()
        learned = torch.nn.ModuleList([self.encoder, self.codebook, self.decoder])
        self.ae_optimizer = adam(learned, model.ae_optimizer)
        self.d_optimizer = adam(self.D, model.d_optimizer)
        self.prior_optimizer = adam(self.transformer, model.prior_optimizer)
        self.steps, self.used = 0, set()

    def vectors(self, x):
        """(N · h · w, features), in the order of places."""
        z = self.encoder(x)
        return z.movedim(1, -1).flatten(0, 2), z.shape

    def nearest(self, z):
        return torch.cdist(z, self.codebook.rows).argmin(1)

    def step(self, x, labels):
        self.steps += 1
        return self.first_stage(x) if self.steps <= self.first else self.second_stage(x)

    def first_stage(self, x):
        z, (N, C, h, w) = self.vectors(x)
        if self.steps % self.renew == 1 % self.renew:
            K = len(self.codebook.rows)
            for k, i in enumerate(self.streams["codes"].integers(len(z), size=K)):
                if k not in self.used:
                    self.codebook.rows.data[k] = z[i].detach()
            self.used = set()
        codes = self.nearest(z)
        self.used |= set(codes.tolist())
        chosen = self.codebook.rows[codes]

        # Straight through: the decoder's gradient with respect to what it is given is handed to z
        given = chosen.detach().requires_grad_()
        restored = self.decoder(given.view(N, h, w, C).movedim(-1, 1))
        rec, weights = mse_loss(restored, x), [*self.decoder.parameters()]
        total, found = rec, {"reconstruction_loss": rec.item()}
        if self.weight and self.steps > self.begin:
            g_loss = -self.D(restored).mean()
            last = self.decoder[-1].weight
            slopes = [torch.autograd.grad(loss, last, retain_graph=True)[0].norm()
                      for loss in (rec, g_loss)]
            total = total + self.weight * (slopes[0] / (slopes[1] + 1e-6)).item() * g_loss
            found["g_loss"] = g_loss.item()
        slope, *of_decoder = torch.autograd.grad(total, [given, *weights])

        codebook_loss, commitment = mse_loss(chosen, z.detach()), mse_loss(z, chosen.detach())
        self.ae_optimizer.zero_grad()
        z.backward(slope, retain_graph=True)
        (codebook_loss + self.beta * commitment).backward()
        for p, gradient in zip(weights, of_decoder):
            p.grad = gradient
        self.ae_optimizer.step()

        if "g_loss" in found:
            d_loss = relu(1 - self.D(x)).mean() + relu(1 + self.D(restored.detach())).mean()
            found["d_loss"] = descend(self.d_optimizer, d_loss)
        return found | {"codebook_loss": codebook_loss.item(),
                        "commitment_loss": commitment.item()}

    def second_stage(self, x):
        with torch.no_grad():
            codes = self.nearest(self.vectors(x)[0]).view(len(x), -1)
        loss = cross_entropy(self.transformer(codes).flatten(0, 1), codes.flatten())
        return {"prior_loss": descend(self.prior_optimizer, loss)}
