"""Augmentation in batches against a loop over one masked word at a time, with the same model in the same run.

python benchmarks/augmentation.py --data_dir=GLUE [--masked_lm=DIRECTORY] [--word_vectors=FILE]

Both are measured in turn on SST-2's first rows, the loop on an even selection of them and extrapolated by its rate. Without
--masked_lm the model is MiniLM with a random head: the work is the same, and its scores lie closer together than a trained
head's.
"""

import functools
import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from measuring import Measured, report

from tinybert_tf.augmentation import Augmentation, Augmenter, MaskedLM, WordVectors
from tinybert_tf.augmentation.algorithm import replaceable, words_for_vectors
from tinybert_tf.augmentation.masked_lm import Query
from tinybert_tf.augmentation.words import is_one_piece, kind, split_sentences
from tinybert_tf.bert import INPUT_NAMES, BertModel, logits_model
from tinybert_tf.checkpoints import load_model, resolve_directory
from tinybert_tf.data import Tokenizer, load_task

FLAGS = flags.FLAGS
GOAL_ROWS = 5000
REFERENCE = "loop, tf.function"
flags.DEFINE_string("data_dir", None, "folder of GLUE files", required=True)
flags.DEFINE_string("masked_lm", None, "model directory; absent: MiniLM with a random head")
flags.DEFINE_string("word_vectors", None, "GloVe or word2vec text file; absent: none")
flags.DEFINE_integer("rows", GOAL_ROWS, "of SST-2, in all rounds together")
flags.DEFINE_integer("loop_rows", 80, "of these for the loop")
flags.DEFINE_integer("rounds", 5, "measurements of each, in turn")
flags.DEFINE_integer("copies", 20, "of a row")


class OneAtATime:
    """The straightforward way: a forward pass with all its scores for each word, the best ones picked outside.

    Args:
        forward: features -> logits [1, S, vocabulary].
    """

    def __init__(self, forward, tokenizer: Tokenizer, candidates: int):
        self._forward, self._tokenizer, self._count = forward, tokenizer, candidates
        self._kinds = [None if word.startswith(("##", "[")) else kind(word) for word in tokenizer.vocabulary]

    def __call__(self, query: Query) -> set[str]:
        tokens = self._tokenizer
        ids = [tokens.cls_id, *query.pieces, tokens.sep_id]
        own, ids[1 + query.first] = ids[1 + query.first], tokens.mask_id
        ids = np.array([ids], np.int32)
        features = {"input_word_ids": ids, "input_mask": np.ones_like(ids), "input_type_ids": np.zeros_like(ids)}
        scores = self._forward(features).numpy()[0, 1 + query.first]
        found = []
        for index in np.argsort(-scores):
            if self._kinds[index] == query.kind and index != own:
                found.append(tokens.vocabulary[index])
            if len(found) == self._count:
                break
        return set(found)


def queries(rows, tokenizer: Tokenizer, settings: Augmentation) -> list[Query]:
    """The words of some rows that the masked LM is asked about."""
    return [
        Query(sentence.pieces, word.first, word.last, kind(word.surface))
        for sentence in split_sentences([row.text for row in rows], tokenizer)
        for word in sentence.words
        if is_one_piece(sentence, word, tokenizer) and replaceable(word.surface, settings)
    ]


def masked_lms(tokenizer: Tokenizer, directory: Path, candidates: int) -> dict[str, MaskedLM]:
    """The same network in single precision and in bfloat16."""
    found = {}
    for dtype in ("float32", "bfloat16"):
        keras.utils.set_random_seed(0)  # of the random head, if it is one
        model = load_model(directory, head="masked_lm", dtype=dtype)
        found[dtype] = MaskedLM(model, tokenizer, candidates=candidates)
    return found


def loops(model: BertModel, tokenizer: Tokenizer, candidates: int) -> dict[str, OneAtATime]:
    """The straightforward way, with Keras' own call and with a compiled one."""
    network = logits_model(model)
    spec = {name: tf.TensorSpec([1, None], tf.int32) for name in INPUT_NAMES}
    call = functools.partial(network, training=False)
    forwards = {"loop, Keras calls": call, REFERENCE: tf.function(call, input_signature=[spec])}
    return {name: OneAtATime(forward, tokenizer, candidates) for name, forward in forwards.items()}


def print_agreement(found: Mapping[str, Sequence[set]], models: Mapping[str, MaskedLM], asked: Sequence[Query]) -> None:
    """How many candidates of the loops are those of the batches."""
    for dtype, masked_lm in models.items():
        candidates = [set(many) for many in masked_lm(asked)]
        for name, sets in found.items():
            equal = sum(one == many for one, many in zip(sets, candidates, strict=True)) / len(asked)
            shared = sum(len(one & many) / len(one) for one, many in zip(sets, candidates, strict=True)) / len(asked)
            print(
                f"{dtype} against {name}: of {len(asked)} words {equal:.1%} have the same set of candidates, "
                f"{shared:.1%} of the candidates are shared"
            )


def main(argv: list[str]) -> None:
    del argv
    logging.basicConfig(level=logging.ERROR, force=True)
    directory = resolve_directory(FLAGS.masked_lm or "minilm_l6", "--masked_lm")
    tokenizer = Tokenizer.from_directory(directory)
    settings = Augmentation(copies=FLAGS.copies)
    data = load_task("sst2", FLAGS.data_dir)
    rows, warm_up = list(data.train.limit(FLAGS.rows)), list(data.dev.limit(FLAGS.rows))
    neighbors = None
    if FLAGS.word_vectors:
        words = words_for_vectors([row.text for row in rows], tokenizer, settings)
        neighbors = WordVectors.read(FLAGS.word_vectors).neighbors(words, settings.candidates)
    models = masked_lms(tokenizer, directory, settings.candidates)
    batched = {dtype: Augmenter(settings, masked_lm, neighbors) for dtype, masked_lm in models.items()}
    looped = loops(models["float32"].model, tokenizer, settings.candidates)

    # Traces; among a large vocabulary's scores there are near ties, which trace the float64 model too.
    for augmenter in batched.values():
        augmenter(warm_up)
    for loop in looped.values():
        for query in queries(warm_up, tokenizer, settings)[:20]:
            loop(query)

    loop_rows = rows[:: max(1, len(rows) // FLAGS.loop_rows)]
    asked, all_asked = queries(loop_rows, tokenizer, settings), len(queries(rows, tokenizer, settings))
    spent = {name: [] for name in (*looped, *batched)}
    found, copies = {name: [] for name in looped}, 0

    def timed(name: str, work: Callable, *args):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work(*args)
        spent[name].append((time.perf_counter() - wall, time.process_time() - cpu))
        return result

    for number in range(FLAGS.rounds):
        for name, augmenter in batched.items():
            copies += len(timed(name, augmenter, rows[number :: FLAGS.rounds]).copies)
        for name, loop in looped.items():
            found[name] += timed(
                name, lambda some, loop=loop: [loop(query) for query in some], asked[number :: FLAGS.rounds]
            )

    # Seconds a word, the rounds' total over the words of all rounds.
    words = dict.fromkeys(looped, len(asked)) | dict.fromkeys(batched, all_asked)
    each = {name: [sum(values) / words[name] for values in zip(*times, strict=True)] for name, times in spent.items()}
    table = [
        Measured(
            "SST-2, words that the masked LM is asked about", name, 1 / wall, "words",
            statistics.median(round_wall for round_wall, _ in spent[name]), statistics.median(c for _, c in spent[name]),
            REFERENCE, each[REFERENCE][0] / wall, each[REFERENCE][1] / cpu,
            note=f"{GOAL_ROWS * all_asked / len(rows) * wall / 60:.1f} min for {GOAL_ROWS} rows",
        )
        for name, (wall, cpu) in each.items()
    ]  # fmt: skip
    note = f"{len(rows)} rows, {all_asked} masked words, {copies // 2} copies; loops: {len(loop_rows)} rows"
    report("augmentation", table, note)
    print_agreement(found, models, [query for number in range(FLAGS.rounds) for query in asked[number :: FLAGS.rounds]])


if __name__ == "__main__":
    app.run(main)
