"""Temperature and bias per maxim, fitted on dialogues that were neither trained on nor tested on."""
import numpy as np

GRID = np.linspace(-4, 4, 161)
# Of the rows that people found fine at most so many are flagged; the goal is one in ten, on rows that are not these.
MOST_FLAGGED = 0.09


def _loss(logits, labels, temperature):
    z = logits / temperature
    return float(np.mean(np.logaddexp(0, z) - labels * z))


# A temperature under this multiplies what int8 rounding does to logits, and makes probabilities surer than they are on strangers' dialogues.
LEAST, MOST = 0.7, 2.0


def fit_temperature(logits, labels):
    """The temperature of least log loss, from `LEAST` to `MOST`."""
    choices = np.exp(np.linspace(np.log(LEAST), np.log(MOST), 160))
    return float(min(choices, key=lambda t: _loss(logits, labels, t)))


def flagged(fine, shift=0.0):
    """The mean over questions of the share of fine rows that are flagged; `fine` is one array of logits a question."""
    return float(np.mean([(logits + shift > 0).mean() for logits in fine])) if fine else 0.0


def fit_bias(logits, labels, fine=(), tolerance=0.01):
    """The smallest shift of the logits that makes 0 as good a threshold for F1 as any, give or take the tolerance.

    Shifts that flag more than `MOST_FLAGGED` of what people found fine are left out, if any shift of the grid does better.
    """
    labels = labels.astype(bool)
    scores = []
    for shift in GRID:
        said = logits + shift > 0
        scores.append(2 * (said & labels).sum() / max(1, said.sum() + labels.sum()))
    allowed = np.array([flagged(fine, shift) <= MOST_FLAGGED for shift in GRID])
    if not allowed.any():
        allowed[:] = True
    scores = np.where(allowed, np.array(scores), -1)
    good = GRID[scores >= scores.max() - tolerance]
    return float(good[np.argmin(np.abs(good))])


def fit(logits, labels, fine=None):
    """`(bias, temperature)` arrays of four; the temperature fits the shifted logits.

    `fine[i]` holds the logits of maxim `i` on rows that people found fine, one array a question.
    """
    biases = np.array([fit_bias(logits[:, i], labels[:, i], fine[i] if fine else ()) for i in range(4)])
    temperatures = np.array([fit_temperature(logits[:, i] + biases[i], labels[:, i]) for i in range(4)])
    return biases, temperatures


def fold(net, biases):
    """Adds the biases to the last layer of each head, so that 0.5 is the threshold of the shipped model."""
    for head, bias in zip(net.heads, biases):
        head[-1].bias.data += float(bias)
