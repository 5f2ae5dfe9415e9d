"""Temperature and bias per maxim, fitted on dialogues that were neither trained on nor tested on."""
import numpy as np

GRID = np.linspace(-2.5, 2.5, 101)


def _loss(logits, labels, temperature):
    z = logits / temperature
    return float(np.mean(np.logaddexp(0, z) - labels * z))


def fit_temperature(logits, labels):
    """The temperature of least log loss, between a quarter and six."""
    choices = np.exp(np.linspace(np.log(0.25), np.log(6), 160))
    return float(min(choices, key=lambda t: _loss(logits, labels, t)))


def fit_bias(logits, labels, tolerance=0.025):
    """The smallest shift of the logits that makes 0 as good a threshold for F1 as any, give or take the tolerance."""
    labels = labels.astype(bool)
    scores = []
    for shift in GRID:
        said = logits + shift > 0
        scores.append(2 * (said & labels).sum() / max(1, said.sum() + labels.sum()))
    good = GRID[np.array(scores) >= max(scores) - tolerance]
    return float(good[np.argmin(np.abs(good))])


def fit(logits, labels):
    """`(bias, temperature)` arrays of four; the temperature fits the shifted logits."""
    biases = np.array([fit_bias(logits[:, i], labels[:, i]) for i in range(4)])
    temperatures = np.array([fit_temperature(logits[:, i] + biases[i], labels[:, i]) for i in range(4)])
    return biases, temperatures


def fold(net, biases):
    """Adds the biases to the last layer of each head, so that 0.5 is the threshold of the shipped model."""
    for head, bias in zip(net.heads, biases):
        head[-1].bias.data += float(bias)
