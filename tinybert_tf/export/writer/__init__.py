"""Writes TFLite files operator by operator, without TensorFlow's converter; `tinybert_tf.export` says why.

In the order of an export:

- `weights`: a model's weights as a `FoldedBert` of plain arrays, rearranged so that the device computes less.
- `calibration`, `smoothing`, `quantization`, `rounding`: what layers read on example texts, and the integers chosen for that.
- `graph`, `builder`, `runtimes`: the network as a list of operators, and the first runtime that has them.
- `text_input`: the tokenizer in front of the network, for files that take texts.
- `flatbuffer`, `metadata`, `integrity`: the file, its description with vocabulary and labels, its checksum.

Beside them, `delegation` lists the operators of a file that XNNPACK leaves, and `other_runtimes` runs ONNX and TorchScript
files for comparison.
"""
