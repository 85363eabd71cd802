"""Masked-LM pre-training (Devlin et al. 2019): the paper's baselines, and a language model on top of a given encoder."""

import dataclasses
import math
import sys
from pathlib import Path

import keras
import tensorflow as tf

from tinybert_tf.bert import BertConfig, BertModel, build_model, size_of
from tinybert_tf.checkpoints import load_model, resolve_directory
from tinybert_tf.corpus import Corpus, read_corpus
from tinybert_tf.distribution import all_reduce_sum, distributed
from tinybert_tf.errors import InputError
from tinybert_tf.presets import PRESETS
from tinybert_tf.settings import check_one_of, nested, setting
from tinybert_tf.train import plan
from tinybert_tf.train.card import place_name, write_card
from tinybert_tf.train.fit import Evaluation, fit
from tinybert_tf.train.optimizer import bert_adamw
from tinybert_tf.train.precision import Precision
from tinybert_tf.train.run import Run, finished_result, recorded
from tinybert_tf.train.settings import RunSettings
from tinybert_tf.train.text import TextSettings, check_vocabulary, held_out_means, training_batches


@dataclasses.dataclass(frozen=True)
class PretrainSettings:
    """Settings of bin/pretrain.py."""

    text: TextSettings = nested(TextSettings)
    run: RunSettings = nested(RunSettings)
    model: str = setting(
        "bert_tiny", "what is trained: a named size (random weights, the corpus' vocabulary), a directory, or a preset"
    )
    masking: str = setting("token", "token, or whole_word: all tokens of a word or none")
    freeze_encoder: bool = setting(False, "train the masked-LM head alone, on an encoder that has none")

    def __post_init__(self):
        check_one_of(self, "masking", "token", "whole_word")


class MaskedLanguageModel(keras.Model):
    """Trains a `BertModel` with the head "masked_lm" to restore masked words.

    Takes batches of features with `masked_positions` int32 [B, P], labels int32 [B, P] and weights float32 [B, P]. Only
    those positions go through the vocabulary product. With `freeze_encoder` the encoder, and with it the word embeddings
    that the head shares, stays as it is: its dropout is off, and no gradient is computed for it.
    """

    def __init__(self, model: BertModel, freeze_encoder: bool = False):
        super().__init__(name="masked_language_model")
        self.network = model
        self.head = model.head_layer
        self.encoder = keras.Model(model.input, model.output["sequence_output"], name="encoder")
        self.freeze_encoder = freeze_encoder
        if freeze_encoder:
            self.encoder.trainable = False
        self.accuracy = keras.metrics.Mean(name="accuracy")
        self.built = True

    def call(self, features, training=False):
        """Logits of the masked positions, float [B, P, vocabulary]."""
        inputs = {name: features[name] for name in self.encoder.input}
        hidden = self.encoder(inputs, training=training and not self.freeze_encoder)
        return self.head(tf.gather(hidden, features["masked_positions"], batch_dims=1))

    def train_step(self, data):
        features, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss, right, count = self._loss(features, labels, weights, training=True)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_variables)
        # The pooler has none: nothing of a masked-LM reads it.
        reached = [(g, v) for g, v in zip(gradients, self.trainable_variables, strict=True) if g is not None]
        self.optimizer.apply_gradients(reached)
        return self._track(loss, right, count)

    def test_step(self, data):
        return self._track(*self._loss(*keras.utils.unpack_x_y_sample_weight(data), training=False))

    def measure(self, data):
        """(means, words): loss and accuracy over one whole batch, and how many words were masked; see `Distiller.measure`."""
        loss, right, count = self._loss(*keras.utils.unpack_x_y_sample_weight(data), training=False)
        return {"loss": loss, "accuracy": right}, count

    def _loss(self, features, labels, weights, training):
        """This replica's shares of the global batch's mean cross-entropy and accuracy, and the global number of words."""
        logits = tf.cast(self(features, training=training), tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        right = tf.cast(tf.argmax(logits, -1, tf.int32) == labels, tf.float32)
        count = all_reduce_sum(tf.reduce_sum(weights))
        mean = lambda values: tf.math.divide_no_nan(tf.reduce_sum(values * weights), count)
        return mean(losses), mean(right), count

    def _track(self, loss, right, count):
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self._loss_tracker.update_state(loss * replicas, sample_weight=count)
        self.accuracy.update_state(right * replicas, sample_weight=count)
        return self.get_metrics_result()


def pretrain(settings: PretrainSettings) -> dict:
    """Masked-LM pre-training.

    Args:
        settings: of the program.

    Returns:
        The RESULT of `bin/pretrain.py`. The score is the accuracy on held-out masked words.

    Raises:
        InputError: a corpus, a network or settings that do not fit each other.
    """
    if finished := finished_result(settings):
        return finished
    text = settings.text
    with distributed(settings.run.devices, text.train_batch_size):
        keras.utils.set_random_seed(settings.run.seed)
        corpus = read_corpus(text.corpus)
        precision = Precision.of(recorded(settings), settings.run.dtype)
        model, vocabulary = _model_for(settings, corpus, precision.dtype)
        trainer = MaskedLanguageModel(model, settings.freeze_encoder)
        batches, steps = training_batches(text, settings.run, corpus, corpus.masked_batches, masking=settings.masking)
        optimizer = bert_adamw(text.learning_rate, steps, warmup_proportion=text.warmup_proportion)
        trainer.compile(precision.optimizer(optimizer), jit_compile=False)
        means = held_out_means(trainer, corpus, corpus.masked_batches, masking=settings.masking)
        run = Run(settings, dataclasses.asdict(precision))

        def keep() -> None:
            run.save(model, "model", vocabulary)

        evaluation = Evaluation(
            run,
            "pretrain",
            lambda: _scored(means()),
            keep,
            steps,
            text.evaluations,
            split="held_out",
            before_training=True,
        )
        fit(
            run, "pretrain", trainer, batches, steps, batch_size=text.train_batch_size, evaluation=evaluation,
            save_every_seconds=settings.run.save_every_seconds,
        )  # fmt: skip
        if run.plan is not None:
            return {"task": "masked_lm"} | plan.summary(run.plan, 4 * model.count_params())
        run.save(model, "last", vocabulary)
        scores = evaluation.best
        write_card(run, model, f"{corpus.examples:,} examples of plain text ({place_name(text.corpus)})")
        return run.finish(
            {"task": "masked_lm", "score": scores["accuracy"], "metrics": scores, "model": str(run.model_dir)}
        )


def _scored(means: dict[str, float]) -> dict[str, float]:
    """The accuracy first, since it decides which weights are kept."""
    loss = means["loss"]
    perplexity = math.exp(loss) if loss < math.log(sys.float_info.max) else math.inf
    return {"accuracy": means["accuracy"], "loss": loss, "perplexity": perplexity}


def _model_for(settings: PretrainSettings, corpus: Corpus, dtype: str) -> tuple[BertModel, Path]:
    """The network, and the directory that its vocabulary is in."""
    has_weights = Path(settings.model).is_dir() or settings.model in PRESETS or not size_of(settings.model)
    if has_weights:
        source = resolve_directory(settings.model, "--model")
        check_vocabulary(corpus, source)
        return load_model(source, head="masked_lm", dtype=dtype), source
    if settings.freeze_encoder:
        raise InputError(
            "it has random weights, which `freeze_encoder` would keep; give a model directory or preset",
            "model",
            settings.model,
        )
    words = corpus.tokenizer
    config = BertConfig.named(settings.model, vocab_size=words.vocab_size, pad_token_id=words.pad_id)
    return build_model(config, "masked_lm", dtype=dtype), corpus.vocab_file.parent
