"""How much of a teacher is left after sixty core seconds of distillation: what a student's start is worth.

python benchmarks/sixty_seconds.py --data_dir=GLUE --model_dirs='runs/teacher/{task}/model' [--tasks=cola,mrpc] [--seconds=60]

The clock is processor time over all cores, so that the figure hardly depends on other work on the machine; it covers the
projection of the teacher, the tracing of both stages and their steps, not reading and scoring. The first stage ends after
half of the time that the projection leaves, the rate of each stage rises and then falls with the time that is left. On a slow
core the projection alone takes most of a minute: `--seconds=120` then. `rate` is the share of the teacher's score; the
reference is the student before any training.
"""

import time

import keras
from absl import app, flags
from measuring import Measured, report

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "folder of GLUE files", required=True)
flags.DEFINE_string("model_dirs", None, "the teachers; {task} stands for the task's name", required=True)
flags.DEFINE_list("tasks", ["cola", "mrpc"], "tasks, each with a teacher of its own")
flags.DEFINE_string("student", "tinybert4", "size of the student")
flags.DEFINE_float("seconds", 60.0, "processor time of the distillation")
flags.DEFINE_integer("rows_for_projection", 160, "training examples that the projection is fitted on")
flags.DEFINE_list("learning_rates", ["1e-4", "3e-5"], "highest rates of the two stages")
BATCH = 32


class Clock(keras.callbacks.Callback):
    """Raises the rate in the first tenth of a stage's time, then lowers it with the time that is left, and ends the stage.

    Without the rise Adam's first step moves every weight by the whole rate, and a stage may have time for few. The first step,
    which is traced, has a rate of zero; the rise begins behind it.
    """

    def __init__(self, begin: float, end: float):
        super().__init__()
        self.begin, self.end, self.steps = begin, end, 0

    def on_train_batch_begin(self, batch, logs=None):
        left = max(self.end - time.process_time(), 0.0) / (self.end - self.begin) if self.steps else 1.0
        self.model.optimizer.learning_rate = self.peak * min(left, 10 * (1 - left))

    def on_train_begin(self, logs=None):
        self.peak = float(self.model.optimizer.learning_rate)

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        now = time.process_time()
        if self.steps == 1:
            self.begin = now
        if now >= self.end:
            self.model.stop_training = True


def measure(task: str) -> list[Measured]:
    """Shares of the teacher's score before training and after `--seconds`."""
    import tinybert_tf as tb
    from tinybert_tf.bert import size_of
    from tinybert_tf.checkpoints import resolve_directory
    from tinybert_tf.train.optimizer import UNDECAYED, AdamW
    from tinybert_tf.train.precision import frozen_dtype

    keras.utils.set_random_seed(0)
    directory = resolve_directory(FLAGS.model_dirs.replace("{task}", task))
    teacher = tb.load_model(directory, dtype=frozen_dtype("auto"))
    tokenizer = tb.Tokenizer.from_directory(directory)
    data = tb.load_task(task, FLAGS.data_dir)
    score_of = lambda model: tb.evaluate(model, data, tokenizer=tokenizer)[data.task.main_metric]
    batches = tb.batches(data.train, tokenizer, data, batch_size=BATCH, model=teacher, shuffle_seed=0, epochs=100)
    layers, hidden, heads, intermediate = size_of(FLAGS.student)
    config = teacher.config.replace(
        num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads, intermediate_size=intermediate
    )
    student = tb.build_model(config, teacher.head)

    spent = -time.process_time()
    projections = tb.initialize_student(student, teacher, batches=batches.take(FLAGS.rows_for_projection // BATCH))
    spent += time.process_time()
    started, shares = spent, {"teacher_projection": score_of(student)}
    objectives = (tb.TinyBertObjective.intermediate(), tb.TinyBertObjective.prediction())
    steps = []
    for number, (objective, rate) in enumerate(zip(objectives, FLAGS.learning_rates, strict=True)):
        budget = (FLAGS.seconds - spent) / (2 - number)
        if budget <= 0:
            steps.append(0)
            continue
        begin = time.process_time()
        distiller = tb.Distiller(teacher, student, objective, projections if number == 0 else None)
        distiller.compile(AdamW(float(rate), weight_decay=0.01, global_clipnorm=1.0, epsilon=1e-6, undecayed=UNDECAYED))
        clock = Clock(begin, begin + budget)
        distiller.fit(batches, callbacks=[clock], verbose=0)
        spent += time.process_time() - begin
        steps.append(clock.steps)
    shares[f"{FLAGS.seconds:g} core seconds"] = score_of(student)
    whole = max(score_of(teacher), 1e-6)
    reference = "teacher_projection"
    notes = [f"{started:.0f} seconds", f"{steps[0]} + {steps[1]} steps"]
    return [
        Measured(
            f"{task}, {FLAGS.student}", name, score / whole, "share of the teacher's score", spent, reference=reference,
            ratio=score / max(shares[reference], 1e-6), note=f"{100 * score:.1f} of {100 * whole:.1f}, {note}",
        )
        for (name, score), note in zip(shares.items(), notes, strict=True)
    ]  # fmt: skip


def main(argv: list[str]) -> None:
    del argv
    for task in FLAGS.tasks:
        report("sixty_seconds", measure(task))


if __name__ == "__main__":
    app.run(main)
