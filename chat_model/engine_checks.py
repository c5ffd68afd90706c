"""The check that all stages have in common which let an engine sample: it is installed, and its server answers."""

import os
import urllib.request
from importlib.util import find_spec

from chat_model.check_up import CheckUp
from chat_model.engines import ADDRESS_VARIABLE, DEFAULT_ADDRESS, FOR_DIVIDED_MODELS, Engine
from chat_model.errors import InputError

_PATIENCE = 3  # seconds


def check_engine(check_up: CheckUp, engine: Engine, divides: bool = True) -> None:
    """Check that `engine` can sample when the stage's turn comes.

    Args:
        divides: whether the recipe's `tensor_parallel` divides the model that this stage samples from.
    """
    with check_up.check(
        "engine",
        "sampling would fail when its turn comes, after the stages before it have run",
        'pip install "rlhf-rounds[vllm]", start the server, or set engine: transformers',
    ):
        if divides and check_up.tensor_parallel > 1 and engine not in FOR_DIVIDED_MODELS:
            raise InputError(
                f"engine: {engine} takes no model that is divided (the recipe's tensor_parallel is "
                f"{check_up.tensor_parallel}); expected {' or '.join(FOR_DIVIDED_MODELS)}"
            )
        if engine in ("vllm", "vllm_colocated") and find_spec("vllm") is None:
            raise InputError(f"engine: {engine} needs the package vllm, which is not installed")
        if engine == "vllm":
            _ask_server(os.environ.get(ADDRESS_VARIABLE, DEFAULT_ADDRESS))


def _ask_server(address: str) -> None:
    try:
        urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=_PATIENCE).close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"engine: no vLLM server answers at {address} ({error}); {ADDRESS_VARIABLE} names it"
        ) from error
