"""Speed and peak memory of bin/make_corpus.py, with starting it and without.

python benchmarks/make_corpus.py --inputs=SMALL.txt,LARGE.txt.xz --vocab=vocab.txt [--processes=1,2]

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

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from absl import app, flags

from tinybert_tf.corpus import CorpusSettings
from tinybert_tf.corpus.shards import UNFINISHED, Job, pack, write_shard
from tinybert_tf.corpus.sources import open_source, read_blocks

PROGRAM = Path(__file__).resolve().parents[1] / "bin" / "make_corpus.py"
FLAGS = flags.FLAGS
flags.DEFINE_list("inputs", None, "text files, each measured by itself", required=True)
flags.DEFINE_string("vocab", None, "vocab.txt", required=True)
flags.DEFINE_list("processes", ["1", "2"], "numbers of processes")
flags.DEFINE_integer("rounds", 3, "measurements of the work without starting, in turn; the best one is shown")


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


def measure_work(text: str) -> dict[str, float]:
    """Million tokens a CPU second in one process that has started: tokenizing alone, with packing, with writing."""
    with tempfile.TemporaryDirectory() as folder:
        settings = CorpusSettings(input=text, vocab=FLAGS.vocab, output_dir=folder)
        Path(folder, UNFINISHED).mkdir()
        job, source = Job(settings, Path(FLAGS.vocab).read_bytes(), True), open_source(settings)
        block = next(read_blocks(source, 0, source.groups()[0]))
        lines = [line for part in block.texts for line in part.content.split(b"\n")]
        work = {
            "tokenizing lines": lambda: job.tokenizer.tokenize(lines),
            "and splitting, packing": lambda: pack(job, block),
            "and writing": lambda: write_shard(job, block),
        }
        tokens = write_shard(job, block)["tokens"]
        seconds = dict.fromkeys(work, float("inf"))
        for _ in range(FLAGS.rounds):
            for name, run in work.items():
                started = time.process_time()
                run()
                seconds[name] = min(seconds[name], time.process_time() - started)
    return {name: tokens / spent / 1e6 for name, spent in seconds.items()}


def main(argv: list[str]) -> None:
    del argv
    print("one process that has started, million tokens a CPU second")
    for name, rate in measure_work(FLAGS.inputs[0]).items():
        print(f"  {name:26}{rate:6.1f}")
    print(f"{'the whole program':28}{'processes':>10}{'Mtokens':>9}{'s':>8}{'Mtokens/s':>11}{'CPU s':>8}{'peak MB':>9}")
    for text in FLAGS.inputs:
        for processes in FLAGS.processes:
            result, cpu, peak = run_program(text, processes)
            tokens, seconds = result["tokens"] / 1e6, result["seconds"]
            print(
                f"{Path(text).name:28}{processes:>10}{tokens:9.1f}{seconds:8.1f}{tokens / seconds:11.2f}{cpu:8.1f}{peak:9.0f}",
                flush=True,
            )


if __name__ == "__main__":
    app.run(main)
