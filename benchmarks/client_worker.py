"""Runs .tflite files with the client library of the Python that runs this program; benchmarks/clients.py starts it.

python benchmarks/client_worker.py --client=mediapipe --cases=FOLDER/cases.json --output_dir=FOLDER/out

Independent of this package, since the clients need Python and NumPy versions of their own (from Python 3.8 on). It prints
"START name" before each case and "DONE name {error}" behind it, so that the caller knows which case ended the process.
"""

import argparse
import json
import os

import numpy as np


def interpreter_class():
    try:
        from tflite_runtime.interpreter import Interpreter
    except ImportError:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            from tensorflow.lite.python.interpreter import Interpreter
    return Interpreter


def run_interpreter(case):
    """Every row through the inputs in their order -> [rows, ...], several outputs joined along the last axis."""
    interpreter = interpreter_class()(model_path=case["path"])
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    results = []
    for row in zip(*(case["rows"][name] for name in ("ids", "mask", "segment_ids"))):  # noqa: B905, from Python 3.10 on
        for detail, values in zip(inputs, row):  # noqa: B905
            interpreter.set_tensor(detail["index"], np.array([values], np.int32))
        interpreter.invoke()
        results.append(np.concatenate([interpreter.get_tensor(detail["index"])[0] for detail in outputs], -1).tolist())
    return results


def run_mediapipe(case):
    from mediapipe.tasks.python import BaseOptions, text

    # A regressor's value may be negative, which 0.10.30 to 0.10.35 leave out unless there is a threshold below it.
    threshold = -1e30 if case["kind"] == "regression" else None
    options = text.TextClassifierOptions(BaseOptions(model_asset_path=case["path"]), score_threshold=threshold)
    with text.TextClassifier.create_from_options(options) as classifier:
        return [_scores(classifier.classify(sentence), case["labels"]) for sentence in case["texts"]]


def run_task_library(case):
    from tflite_support.task import text

    if case["kind"] == "span":
        answerer = text.BertQuestionAnswerer.create_from_file(case["path"])
        answers = [answerer.answer(context, question).answers for question, context in case["texts"]]
        return [found[0].text if found else "" for found in answers]
    classifier = text.BertNLClassifier.create_from_file(case["path"])
    return [_scores(classifier.classify(sentence), case["labels"]) for sentence in case["texts"]]


def _scores(result, labels):
    scores = {category.category_name: category.score for category in result.classifications[0].categories}
    return [scores[label] for label in labels]


CLIENTS = {"interpreter": run_interpreter, "mediapipe": run_mediapipe, "task_library": run_task_library}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", choices=CLIENTS, required=True)
    parser.add_argument("--cases", required=True, help="a JSON list of cases")
    parser.add_argument("--skip", default="", help="names of cases that are left out, with commas between")
    parser.add_argument("--output_dir", required=True, help="results, one JSON file a case")
    flags = parser.parse_args()
    with open(flags.cases) as file:
        cases = json.load(file)
    skipped = flags.skip.split(",")
    for case in cases:
        if case["name"] in skipped:
            continue
        print("START", case["name"], flush=True)
        error = None
        try:
            results = CLIENTS[flags.client](case)
            with open(os.path.join(flags.output_dir, case["name"] + ".json"), "w") as file:
                json.dump(results, file)
        except Exception as problem:  # whatever the client raises is the result
            error = " ".join(str(problem).split())[:200] or type(problem).__name__
        print("DONE", case["name"], json.dumps({"error": error}), flush=True)


if __name__ == "__main__":
    main()
