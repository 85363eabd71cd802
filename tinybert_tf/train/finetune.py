"""Fine-tuning a model directory on a task: the teacher, or a student without a teacher."""

import dataclasses
import logging
from pathlib import Path

import keras

from tinybert_tf.bert import BertConfig, BertModel, build_model, size_of
from tinybert_tf.checkpoints import load_model, resolve_directory
from tinybert_tf.data import Task, Tokenizer
from tinybert_tf.data.settings import DataSettings
from tinybert_tf.distill import check_inputs
from tinybert_tf.distribution import distributed
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.task_model import TaskModel
from tinybert_tf.settings import check_positive, check_rate, nested, setting
from tinybert_tf.train.precision import Precision
from tinybert_tf.train.run import Run, finished_result, recorded
from tinybert_tf.train.settings import ExampleSettings, RunSettings
from tinybert_tf.train.student import is_loaded
from tinybert_tf.train.trainer import Trainer
from tinybert_tf.train.training_set import AUGMENTED_HELP, check_augmented, training_set

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FinetuneSettings:
    """Settings of bin/finetune.py."""

    data: DataSettings = nested(DataSettings)
    examples: ExampleSettings = nested(ExampleSettings)
    run: RunSettings = nested(RunSettings)
    augmented_data_dir: str | None = setting(None, AUGMENTED_HELP)
    model: str = setting(
        "minilm_l6", "what is fine-tuned: a model directory, a preset, or a named size (random weights)"
    )
    vocab: str | None = setting(None, "vocab.txt of a model with random weights")
    epochs: float = setting(3.0, "passes over the training set")
    learning_rate: float = setting(5e-5, "peak of the schedule")

    def __post_init__(self):
        check_positive(self, "epochs")
        check_rate(self, "learning_rate")
        check_augmented(self.augmented_data_dir, self.data.task)


def finetune(settings: FinetuneSettings) -> dict:
    """Fine-tunes a model on a task with its labels.

    Args:
        settings: of the program.

    Returns:
        The RESULT of `bin/finetune.py`: task, score, metrics, model, steps.

    Raises:
        InputError: a model, a file or settings that do not fit each other.
    """
    if finished := finished_result(settings):
        return finished
    with distributed(settings.run.devices, settings.examples.train_batch_size):
        keras.utils.set_random_seed(settings.run.seed)
        data = settings.data.load()
        precision = Precision.of(recorded(settings), settings.run.dtype)
        model, source = _model_for(data.task, settings.model, settings.vocab, precision.dtype)
        tokenizer = settings.data.open_tokenizer(source)
        of_model = TaskModel.of(model, tokenizer, data, settings.data.seq_len, source=source)
        check_inputs(model, "model", of_model.seq_len, data.task.has_pairs)
        if settings.data.custom.unlabelled_file:
            logger.warning("unlabelled_file is not used: fine-tuning learns from labels")
        training = training_set(settings, of_model)
        evaluate = of_model.scorer(data.dev)
        run = Run(settings, dataclasses.asdict(precision) | {"buckets": training.buckets})
        trainer = Trainer(
            run, settings.run, model, training, evaluate, settings.examples.evaluations, tokenizer.spec, precision
        )
        return trainer.finish(trainer.learn_labels("finetune", settings.epochs, settings.learning_rate))


def _model_for(task: Task, name: str, vocab: str | None, dtype: str) -> tuple[BertModel, Path]:
    """A network with a head for the task, and the directory of its vocabulary."""
    label2id = task.label2id or None
    has_random_weights = size_of(name) is not None and not is_loaded(name)
    if has_random_weights and not vocab:
        raise InputError("is missing; a model given as a size has random weights and takes its words from it", "vocab")
    if vocab and not has_random_weights:
        logger.warning("vocab=%s is not used: the model %s has its own", vocab, name)
    elif vocab:
        vocab_file = Path(vocab)
        if vocab_file.name != "vocab.txt":
            raise InputError(
                "must be named vocab.txt, as in the model directory that it becomes part of", "vocab", vocab
            )
        words = Tokenizer(vocab_file)
        config = BertConfig.named(name, vocab_size=words.vocab_size, pad_token_id=words.pad_id, label2id=label2id)
        return build_model(config, task.head, dtype=dtype), vocab_file.parent
    source = resolve_directory(name, "--model")
    return load_model(source, head=task.head, label2id=label2id, dtype=dtype), source
