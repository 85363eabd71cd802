"""Speed and peak memory of bin/make_corpus.py, with starting it and without.

python benchmarks/corpus.py --inputs=SMALL.txt,LARGE.txt.xz --vocab=vocab.txt [--processes=1,2]

The program is run as a whole for each input and number of processes. Memory is the resident memory of it and the processes
it starts, what they share counted in each, at the highest of ten looks a second. CPU seconds include starting; they tell
more than seconds on a machine that is shared.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags
from measuring import Measured, compared, in_turn, report

from tinybert_tf.checkpoints import resolve_directory
from tinybert_tf.corpus import CorpusSettings
from tinybert_tf.corpus.shards import UNFINISHED, Job, pack, write_shard
from tinybert_tf.corpus.sources import open_source, read_blocks
from tinybert_tf.tokenizer_files import read_vocabulary

PLAIN = "Hugging Face tokenizers, encode_batch"
PROGRAM = Path(__file__).resolve().parents[1] / "bin" / "make_corpus.py"
FLAGS = flags.FLAGS
flags.DEFINE_list("inputs", None, "text files, each measured by itself", required=True)
flags.DEFINE_string("vocab", None, "vocab.txt; absent: that of the preset minilm_l6")
flags.DEFINE_list("processes", ["1", "2"], "numbers of processes")
flags.DEFINE_integer("rounds", 5, "measurements of the work without starting, in turn; the median is shown")


def look(pid: int, cpu_seconds: dict[int, float]) -> float:
    """Resident MB of a process and of those it started; notes the CPU seconds of each (Linux)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return 0.0
    cpu_seconds[pid] = (int(status[11]) + int(status[12])) / os.sysconf("SC_CLK_TCK")
    resident = int(status[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return resident + sum(look(int(child), cpu_seconds) for child in children)


def run_program(text: str, processes: str) -> tuple[dict, float, float]:
    """(its result, CPU seconds, peak MB)."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(PROGRAM), f"--input={text}", f"--vocab={FLAGS.vocab}"]
        command += [f"--output_dir={folder}/corpus", f"--num_processes={processes}"]
        program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        peak, cpu_seconds = 0.0, {}
        while program.poll() is None:
            peak = max(peak, look(program.pid, cpu_seconds))
            time.sleep(0.1)
        printed = program.stdout.read()
    if program.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {program.returncode}")
    return json.loads(printed.splitlines()[-1].removeprefix("RESULT ")), sum(cpu_seconds.values()), peak


def measure_work(text: str) -> tuple[dict[str, tuple[float, float]], int]:
    """(median wall and processor seconds of each part of the work in one process that has started, tokens)."""
    with tempfile.TemporaryDirectory() as folder:
        settings = CorpusSettings(input=text, vocab=FLAGS.vocab, output_dir=folder)
        Path(folder, UNFINISHED).mkdir()
        job, source = Job(settings, read_vocabulary(FLAGS.vocab)), open_source(settings)
        block = next(read_blocks(source, 0, source.groups()[0]))
        lines = [line for part in block.texts for line in part.content.split(b"\n")]
        work = {
            "tokenizing lines": lambda: job.tokenizer.tokenize(lines),
            "and splitting, packing": lambda: pack(job, block),
            "and writing": lambda: write_shard(job, block),
        }
        if (tokenize := plain_tokenizer()) is not None:
            work = {PLAIN: lambda: tokenize([line.decode() for line in lines])} | work
        tokens = write_shard(job, block)["tokens"]
        return in_turn(work, FLAGS.rounds), tokens


def plain_tokenizer():
    """Hugging Face's tokenizer in batches, which only tokenizes; None where it is not installed."""
    try:
        from tokenizers import BertWordPieceTokenizer
    except ModuleNotFoundError:
        return None
    return BertWordPieceTokenizer(FLAGS.vocab, lowercase=True).encode_batch


def main(argv: list[str]) -> None:
    del argv
    FLAGS.vocab = FLAGS.vocab or str(resolve_directory("minilm_l6") / "vocab.txt")
    seconds, tokens = measure_work(FLAGS.inputs[0])
    reference = PLAIN if PLAIN in seconds else "tokenizing lines"
    report("corpus", compared("one process that has started", seconds, tokens, "tokens", reference))
    for text in FLAGS.inputs:
        rows: list[Measured] = []
        for processes in FLAGS.processes:
            result, cpu, peak = run_program(text, processes)
            rate, name = result["tokens"] / result["seconds"], f"{processes} processes"
            first = rows[0].variant if rows else name
            ratio = rate / rows[0].rate if rows else 1.0
            note = f"{result['tokens'] / 1e6:.1f} million tokens, peak {peak:.0f} MB"
            case = f"bin/make_corpus.py, {Path(text).name}"
            rows.append(Measured(case, name, rate, "tokens", result["seconds"], cpu, first, ratio, note=note))
        report("corpus", rows)


if __name__ == "__main__":
    app.run(main)
