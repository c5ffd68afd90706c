"""PPO: our loop against `PPOTrainer` of TRL 1.12.0, the last release that had one, each in a process of its own.

``python -m benchmarks.ppo [--cases v512_stops ...] [--iterations 5]``. A tiny Llama (hidden 128, 4 layers) in fp32 on
the CPU, prompts of 32 tokens, up to 64 new ones, batch 128, mini-batch 64, one epoch; the same policy, reference,
critic, reward model and prompts. Answers end by themselves at 40 % of the bound on average, or never. The first
iteration warms up and is left out. Episodes are counted per second of wall time (the median iteration) and per second
of processor time, which neighbours on the machine disturb less. The peer's environment is made on first use
(`benchmarks.peers`).
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from benchmarks.comparison import Comparison, compare_speeds, show
from benchmarks.peers.environment import run_program
from benchmarks.peers.trl_python import trl_python
from benchmarks.ppo_workload import stop_probability, write_workload

CASES = {"v512_stops": (512, 0.4), "v512_no_stops": (512, 1.0), "v32000_stops": (32000, 0.4)}  # vocabulary, mean length
BARS = {
    "v512_stops_episodes_per_second": 1.5,
    "v512_no_stops_episodes_per_second": 1.2,
    "v32000_stops_episodes_per_second": 2.7,
    "v32000_stops_peak_gib": 3.0,
}
OURS, TRL = ("-m", "benchmarks.ppo_ours"), ("-m", "benchmarks.peers.trl_ppo")  # programs over the same two files
SETTINGS: dict[str, Any] = {
    "seed": 0,
    "batch_size": 128,
    "mini_batch_size": 64,
    "max_new_tokens": 64,
    "micro_batch_tokens": 1536,  # ours: a quarter of a mini-batch, which a CPU's caches hold; the peer takes it whole
    "kl_coefficient": 0.01,
    "learning_rate": 1e-6,
    "reward": "model",
}


def run(cases: list[str], iterations: int, **changes: Any) -> Comparison:
    """Run both sides on each case and return speeds, peak memory and, of ours, seconds by phase."""
    measured = {case: _run_case(case, {**SETTINGS, "num_iterations": iterations, **changes}) for case in tqdm(cases)}
    speeds = [_by_case(measured, side, _speeds) for side in ("ours", "peer")]
    memory = [_by_case(measured, side, _memory) for side in ("ours", "peer")]
    ours, peer = (fast | small for fast, small in zip(speeds, memory, strict=True))
    comparison = compare_speeds("ppo", ours, peer, costs=memory[0])
    comparison.notes.update(bars=BARS, ours={case: _details(sides["ours"]) for case, sides in measured.items()})
    return comparison


def _run_case(case: str, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    vocabulary, share = CASES[case]
    with tempfile.TemporaryDirectory() as name:
        stop = stop_probability(settings["max_new_tokens"], share)
        write_workload(Path(name), vocabulary, 2 * settings["batch_size"], stop)
        settings = {**settings, "folder": name}
        return {"ours": run_program(sys.executable, OURS, settings), "peer": run_program(trl_python(), TRL, settings)}


def _by_case(measured: dict[str, dict[str, Any]], side: str, read: Any) -> dict[str, float]:
    return {f"{case}_{name}": value for case, sides in measured.items() for name, value in read(sides[side]).items()}


def _speeds(measured: dict[str, Any]) -> dict[str, float]:
    """Episodes a second of wall and of processor time, by the median iteration after the first."""
    clocks = {"episodes_per_second": "seconds", "episodes_per_cpu_second": "cpu_seconds"}
    episodes = SETTINGS["batch_size"]
    return {name: round(episodes / statistics.median(measured[clock][1:]), 2) for name, clock in clocks.items()}


def _memory(measured: dict[str, Any]) -> dict[str, float]:
    return {"peak_gib": round(measured["peak_bytes"] / 2**30, 3)}


def _details(measured: dict[str, Any]) -> dict[str, float]:
    """Median seconds by phase, and the mean length of the responses in tokens."""
    phases = {f"seconds_{name}": round(statistics.median(row[1:]), 3) for name, row in measured["phases"].items()}
    return {**phases, "response_length": round(statistics.mean(measured["lengths"][1:]), 1)}


def main() -> None:
    """Parse the command line, run and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="which to run (default: all)")
    parser.add_argument("--iterations", type=int, default=5, help="iterations a side, the first a warm-up (default: 5)")
    arguments = parser.parse_args()
    comparison = run(arguments.cases, arguments.iterations)
    show(comparison, f"PPO, batch {SETTINGS['batch_size']}, {arguments.iterations - 1} iterations measured")


if __name__ == "__main__":
    main()
