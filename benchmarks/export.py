"""Exporting TinyBERT4 as TFLite: seconds for each mode of quantization, and the size of the file.

python benchmarks/export.py [--modes=none,float16,dynamic]

The reference is the float export. How fast the files run: tflite/benchmark.py.
"""

import tempfile
from pathlib import Path

from absl import app, flags
from measuring import compared, in_turn, report

FLAGS = flags.FLAGS
flags.DEFINE_list("modes", ["none", "float16", "dynamic"], "values of `quantize`")
flags.DEFINE_string("model", "tinybert4", "size of the network")
flags.DEFINE_integer("rounds", 5, "measurements of each, in turn; the median is shown")


def main(argv: list[str]) -> None:
    del argv
    import tinybert_tf as tb
    from tinybert_tf.checkpoints import resolve_directory

    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder, "model")
        config = tb.BertConfig.named(FLAGS.model, label2id={"negative": 0, "positive": 1})
        model = tb.build_model(config, "classification")
        tb.save_model(model, directory, tokenizer_from=resolve_directory("minilm_l6"))
        files = {mode: Path(folder, f"{mode}.tflite") for mode in FLAGS.modes}
        functions = {
            mode: lambda mode=mode, path=path: tb.export_tflite(directory, path, quantize=mode, seq_len=128)
            for mode, path in files.items()
        }
        seconds = in_turn(functions, FLAGS.rounds)
        notes = {mode: f"{path.stat().st_size / 1e6:.1f} MB" for mode, path in files.items()}
    report("export", compared(f"exporting {FLAGS.model}", seconds, 1, "files", FLAGS.modes[0], notes=notes))


if __name__ == "__main__":
    app.run(main)
