"""Lists the operators of a file that XNNPACK takes over and those that it leaves to the interpreter.

XNNPACK's kernels are several times faster than the interpreter's, and each operator that it leaves cuts the graph: before
and behind it, activations change their layout.
"""

import dataclasses
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter

from tinybert_tf.export.writer import flatbuffer, integrity


@dataclasses.dataclass(frozen=True)
class Delegation:
    """Delegation of the first graph of a file.

    Attributes:
        delegated, nodes: number of operators that XNNPACK takes, and of all operators.
        parts: number of partitions that XNNPACK takes.
        left: "OPERATOR name" of each operator that XNNPACK leaves.
    """

    delegated: int
    nodes: int
    parts: int
    left: tuple[str, ...]


def delegation(path: str | Path) -> Delegation:
    """Loads a file with the runtime's defaults and reads which operators were delegated.

    Raises:
        InputError: not a TFLite file, or a damaged one.
    """
    content = flatbuffer.read_tflite(path)
    integrity.check(path, content)
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    operations = interpreter._get_ops_details()
    parts = [operation for operation in operations if operation["op_name"] == "DELEGATE"]
    given = {index for part in parts for index in part["outputs"]}
    names = {detail["index"]: detail["name"] for detail in interpreter.get_tensor_details()}
    kept = names.keys()
    left = []
    nodes = [operation for operation in operations if operation["op_name"] != "DELEGATE"]
    for operation in nodes:
        outputs = set(map(int, operation["outputs"]))
        # A result that only XNNPACK reads has no memory in the interpreter.
        if not outputs & given and outputs <= kept and _has_memory(interpreter, min(outputs)):
            left.append(f"{operation['op_name']} {names[min(outputs)]}")
    return Delegation(len(nodes) - len(left), len(nodes), len(parts), tuple(left))


def _has_memory(interpreter: Interpreter, index: int) -> bool:
    try:
        interpreter.get_tensor(index)
    except ValueError:
        return False
    return True
