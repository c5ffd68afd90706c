"""`transformers serve` with the tiny model: the judge's protocol against somebody else's server, and a talk with it."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

for module in ("openai", "fastapi", "uvicorn"):
    pytest.importorskip(module, reason=f"`transformers serve` needs `{module}`")

PATIENCE = 30  # seconds to wait for the server


@pytest.fixture(scope="module")
def server(tiny_checkpoint):
    """The address of a running server, or a skip where it does not come up in time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(tiny_checkpoint)]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
        env={**environment, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def wait_for(url, process):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        if process.poll() is not None:
            pytest.skip(f"`transformers serve` ended with exit code {process.returncode}")
        try:
            direct.open(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.3)
    pytest.skip(f"`transformers serve` did not answer within {PATIENCE} s on this machine")


def test_a_server_of_transformers_answers_and_its_tokens_are_counted(server, tiny_checkpoint, pairs, tmp_path):
    from rlhf.preferences.judge.config import JudgeConfig
    from rlhf.preferences.judge.judging import judge_pairs

    config = JudgeConfig(
        judge_model=str(tiny_checkpoint),
        judge_url=server,
        judge_request={"max_tokens": 6, "temperature": 1.0, "seed": 0},
        judge_attempts=2,
        judge_concurrency=2,
    )
    outcome = judge_pairs(pairs[:2], config, tmp_path / "answers.jsonl")
    # A random model says nothing that can be read; that it was asked, answered and counted is what is tested.
    assert outcome.counts["judge_unreachable"] == 0
    assert outcome.counts["judge_unreadable"] + outcome.counts["judge_refused"] == 2
    assert 4 <= outcome.report["requests"] <= 8
    assert outcome.report["prompt_tokens"] > 100 * outcome.report["requests"]
    assert 0 < outcome.report["completion_tokens"] <= 6 * outcome.report["requests"]


def test_transformers_chat_talks_with_a_checkpoint_that_is_served(server, tiny_checkpoint, tmp_path):
    command = [sys.executable, "-m", "transformers.cli.transformers", "chat", str(tiny_checkpoint), server]
    left_out = ("_proxy", "_offline")  # to the chat any address is the hub's
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith(left_out)}
    talk = subprocess.run(
        [*command, "max_new_tokens=4", "do_sample=False", "--user", "newcomer"],
        input="what color is the fox?\nn\n!exit\n",  # the answer is cut off: no, do not go on
        env={**environment, "COLUMNS": "200"},
        cwd=tmp_path,
        text=True,
        capture_output=True,
        timeout=90,
    )
    assert talk.returncode == 0, talk.stderr
    assert "<newcomer>" in talk.stdout and str(tiny_checkpoint) in talk.stdout.replace("\n", ""), talk.stdout
