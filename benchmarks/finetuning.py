"""Fine-tuning a teacher of BERT_BASE's size: float32 and mixed_bfloat16 beside the plain PyTorch loop.

python benchmarks/finetuning.py [--model=bert_base]

Full batches of 32 x 64, one step at a time, weights random.
"""

from absl import app, flags
from measuring import compared, gflops, in_turn, product_peaks, report, without_peaks
from models import LOOP, arrays_of, full_batch, pytorch_training, step_of

FLAGS = flags.FLAGS
flags.DEFINE_string("model", "bert_base", "size of the network")
flags.DEFINE_integer("batch", 32, "examples in a step")
flags.DEFINE_integer("length", 64, "tokens of an example")
DTYPES = {"ours, float32": "float32", "ours, mixed_bfloat16": "mixed_bfloat16"}


def classifier(dtype: str):
    """A compiled network that learns labels."""
    import keras

    import tinybert_tf as tb
    from tinybert_tf.bert import logits_model
    from tinybert_tf.train.optimizer import bert_adamw

    config = tb.BertConfig.named(FLAGS.model, label2id={"0": 0, "1": 1})
    model = logits_model(tb.build_model(config, "classification", dtype=dtype))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(bert_adamw(2e-5, 100_000), loss=loss, jit_compile=False)
    return model


def main(argv: list[str]) -> None:
    del argv
    from tinybert_tf.bert import BertConfig, encoder_flops

    batch, functions = full_batch(FLAGS.batch, FLAGS.length), product_peaks()
    if (loop := pytorch_training("labels", FLAGS.model)) is not None:
        functions[LOOP] = lambda: loop.step(*arrays_of(batch))
    for name, dtype in DTYPES.items():
        step = step_of(classifier(dtype))
        functions[name] = lambda step=step: step(batch)
    seconds = in_turn(functions, FLAGS.rounds, warm_up=2)
    peaks = gflops(seconds)
    gflop = 3 * FLAGS.batch * encoder_flops(BertConfig.named(FLAGS.model), FLAGS.length) / 1e9
    least = {name: gflop / peaks[dtype.removeprefix("mixed_")] for name, dtype in DTYPES.items()}
    case = f"fine-tuning {FLAGS.model}, batches of {FLAGS.batch} x {FLAGS.length}"
    rows = compared(case, without_peaks(seconds), FLAGS.batch, "examples", "ours, float32", least)
    report("finetuning", rows)


if __name__ == "__main__":
    app.run(main)
