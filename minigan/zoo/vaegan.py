"""VAE-GAN: an autoencoder whose pictures are compared in the features of a discriminator. Larsen et
al. 2016, arXiv:1512.09300.

A VAE compares a picture x with its reconstruction x̃ = Dec(z), z from q(z | x), pixel by pixel. So
what it is not sure of becomes blurred. Here they are compared in D_l, the l-th layer of a
discriminator that learns to tell pictures from reconstructions, and from x_p = Dec(z_p) with z_p
from N(0, I):

    L_prior = KL(q(z | x) ‖ N(0, I))
    L_llike = −E ln N(D_l(x) | D_l(x̃), I) = ½ Σ (D_l(x) − D_l(x̃))² + a constant   (§2.3)
    L_GAN = −ln D(x) − ln(1 − D(x̃)) − ln(1 − D(x_p))                              (Alg. 1)

Which loss reaches which network (§2.3, Alg. 1):

    encoder         L_prior + L_llike
    decoder         γ L_llike − L_GAN
    discriminator   L_GAN

D gets none of L_llike, which would make all pictures alike to it. The encoder gets none of L_GAN:
it is to say what a picture shows, and not to fool anybody. L_GAN is what D minimises; the paper's
has the other sign. The updates come one after the other, as in a GAN, where Alg. 1 computes all at
once. In place of −L_GAN the decoder has the non-saturating −ln D(x̃) − ln D(x_p). D_l is what D's
last layer sees. D has batch norm, as in the paper: D_l of a sample depends on its batch too. The
optimizer is Adam; the paper's is RMSprop.
"""

from minigan import init, networks, nn, ops, optim
from minigan.autoencoding import Autoencoder, Gaussian
from minigan.metrics.judges import of_reconstructions
from minigan.model import averaged, frozen
from minigan.shapes import in_range
from minigan.tensor import no_grad


class VAEGAN(Autoencoder):
    OPTIONS = Autoencoder.OPTIONS | {
        "steps": (4000, "training steps"),
        "width": (32, "channels next to the image"),
        "latent": (16, "width of the code z"),
        "gamma": (0.01, "γ, the weight of the likeness of features beside the adversarial loss"),
        "lr_e": (1e-3, "the encoder's learning rate"),
        "lr_g": (1e-3, "the decoder's"),
        "lr_d": (1e-3, "the discriminator's"),
        "lr_decay": (0.02, "part of the learning rates that is left at the last step"),
        "ema": (0.999, "decay of the averaged decoder, below 1")}
    NEEDS = ("pictures",)
    BETAS = 0.5, 0.999
    headline = "d_loss", "g_loss", "feature_loss", "kl_loss"
    measures = of_reconstructions

    def build(self, facts, options, rng):
        self.latent, width = options["latent"], options["width"]
        self.gamma = in_range("vaegan: gamma", options["gamma"])
        encoder = networks.dcgan_discriminator(facts.shape, width, "layer", 2 * self.latent,
                                               rng=rng)
        self.decoder = networks.dcgan_generator(facts.shape, self.latent, width, nn.LayerNorm, rng)
        *body, score = networks.dcgan_discriminator(facts.shape, width, rng=rng)
        self.discriminator = nn.Sequential(nn.Sequential(*body), score)
        for network in (encoder, self.decoder, self.discriminator):
            init.dcgan(network, rng)
        self.encoder = Gaussian(encoder, self.latent)
        self.e_optimizer, self.g_optimizer, self.d_optimizer = [
            optim.Adam(network.parameters(), options[lr], self.BETAS) for network, lr in (
                (self.encoder, "lr_e"), (self.decoder, "lr_g"), (self.discriminator, "lr_d"))]
        self.averaged, self.average = averaged(self.decoder, options["ema"])

    def step(self, batch):
        self.steps += 1
        x, (features, score) = self.real(batch.x), self.discriminator

        mean, log_variance = self.encoder(x)
        z = mean + ops.exp(0.5 * log_variance) * self.noise(len(x))
        restored, made = self.decoder(z.detach()), self.decoder(self.noise(len(x)))

        # D: scores of pictures up, of reconstructions and of pictures of noise down
        real_scores = self.discriminator(x)
        fakes = [self.discriminator(fake.detach()) for fake in (restored, made)]
        d_loss = ops.softplus(-real_scores).mean() + sum(ops.softplus(f).mean() for f in fakes)
        d_norm = self.descend(self.d_optimizer, d_loss)

        with no_grad():
            target = features(x)

        def unlikeness(seen):
            return 0.5 * ((target - seen) ** 2).reshape(len(x), -1).sum(1).mean()

        # Encoder: z near to N(0, I), and features of the reconstruction near to the picture's
        with frozen(self.decoder), frozen(self.discriminator):
            kl_loss = -0.5 * (1.0 + log_variance - mean ** 2 - ops.exp(log_variance)).sum(1).mean()
            e_loss = kl_loss + unlikeness(features(self.decoder(z)))
            e_norm = self.descend(self.e_optimizer, e_loss)

        # Decoder: the same for its features; scores of reconstructions and of pictures of noise up
        with frozen(self.discriminator):
            seen = features(restored)
            g_loss = ops.softplus(-score(seen)).mean() + ops.softplus(
                -self.discriminator(made)).mean()
            feature_loss = unlikeness(seen)
            g_norm = self.descend(self.g_optimizer, self.gamma * feature_loss + g_loss)

        self.average.update(self.steps)
        return {"d_loss": d_loss.data, "g_loss": g_loss.data, "feature_loss": feature_loss.data,
                "kl_loss": kl_loss.data, "real_score": real_scores.mean().data,
                "restored_score": fakes[0].mean().data, "fake_score": fakes[1].mean().data,
                "d_grad_norm": d_norm, "g_grad_norm": g_norm, "e_grad_norm": e_norm}

    def restored(self, x):
        mean, _ = self.encoder(x)
        return self.averaged(mean)
