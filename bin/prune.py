"""Makes a trained model smaller: fewer word pieces, positions, layers, heads and neurons, a narrower hidden state."""

import common
from tinybert_tf.prune.program import PruneSettings, prune_model


def main(settings: PruneSettings) -> dict:
    result = prune_model(settings)
    print(f"{result['parameters'] / 1e6:.2f} million parameters, {result['vocab_size']} word pieces")
    print(f"wrote {result['model']}" + (f" and {result['teacher']}" if result["teacher"] else ""))
    return result


if __name__ == "__main__":
    common.run(PruneSettings, main)
