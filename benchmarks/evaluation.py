"""Scoring a network on dev: our predictor, which sorts by length, beside the plain PyTorch loop, which pads.

python benchmarks/evaluation.py --data_dir=GLUE [--task=sst2] [--model=tinybert4]

Weights are random. Both have their tokens ready: the predictor tokenizes in its first pass, which is not measured.
"""

import tempfile

import numpy as np
from absl import app, flags
from measuring import compared, in_turn, report
from models import LOOP, arrays_of, pytorch_training, text_shards, text_tokenizer

FLAGS = flags.FLAGS
flags.DEFINE_string("task", "sst2", "task whose dev set is scored")
flags.DEFINE_string("model", "tinybert4", "size of the network")
flags.DEFINE_integer("rows", 512, "of the dev set, at most")
BATCH = 64


def main(argv: list[str]) -> None:
    del argv
    import tinybert_tf as tb
    from tinybert_tf.evaluate import make_predict

    data = tb.load_task(FLAGS.task, FLAGS.data_dir)
    tokenizer = text_tokenizer()
    split, functions = data.dev.limit(FLAGS.rows), {}
    if (loop := pytorch_training("labels", FLAGS.model)) is not None:
        import torch

        with tempfile.TemporaryDirectory() as folder:
            shards, length = text_shards(FLAGS.task, folder, split)
            padded = [
                tuple(torch.as_tensor(array).long() for array in arrays_of(batch)[:3])
                for batch in shards.batches(BATCH, buckets=(length,)).as_numpy_iterator()
            ]

        def predict_padded() -> None:
            with torch.no_grad():
                for arrays in padded:
                    loop.student(*arrays)

        functions[LOOP] = predict_padded
    config = tb.BertConfig.named(FLAGS.model, label2id=data.task.label2id)
    for dtype in ("float32", "bfloat16"):
        model = tb.build_model(config, "classification", dtype=dtype)
        functions[f"ours, {dtype}"] = make_predict(model, split, tokenizer, data.task, batch_size=BATCH)
    seconds = in_turn(functions, FLAGS.rounds)
    reference = LOOP if loop is not None else "ours, float32"
    case = f"predicting {FLAGS.task}'s dev set with {FLAGS.model}"
    report("evaluation", compared(case, seconds, float(np.sum([1 for _ in split])), "examples", reference))


if __name__ == "__main__":
    flags.mark_flag_as_required("data_dir")
    app.run(main)
