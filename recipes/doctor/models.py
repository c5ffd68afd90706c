"""Which models a recipe names, and whether they can be had: from a folder, the local cache, or the hub."""

import functools
from collections.abc import Sequence
from pathlib import Path

from chat_model.check_up import CheckUp
from chat_model.errors import InputError
from chat_model.loading import TINY
from recipes.planner.lineage import maker_of
from recipes.step import Step

_FIELDS = (
    *("model_name_or_path", "tokenizer_name_or_path", "previous_model", "reference_model", "checkpoints"),
    *("helpfulness_reward_model", "safety_reward_model", "reward_model", "policy_adapter"),
)


def check_models(check_up: CheckUp, steps: Sequence[Step]) -> None:
    """Check that every model which no step makes can be read."""
    for name in dict.fromkeys(name for step in steps for name in models_of(step)):
        if maker_of(name, steps) is None and not name.startswith(TINY):
            with check_up.check(
                "models can be read",
                "the step would stop when its turn comes, however long the ones before it took",
                "correct the name; for a gated model accept its licence on its page and run `hf auth login`; without a "
                "network, download it first with `hf download`",
            ):
                if reason := why_unreadable(name):
                    raise InputError(reason)


def models_of(step: Step) -> list[str]:
    """Return the models that the arguments of a step name."""
    given = [step.arguments.get(field) for field in _FIELDS]
    return [str(name) for value in given for name in (value if isinstance(value, list) else [value]) if name]


@functools.cache
def why_unreadable(name: str) -> str | None:
    """Return why nothing can be read under a folder's name or a hub id, or None where something can."""
    if Path(name).is_dir():
        return None if any(Path(name).glob("*.json")) else f"{name}: holds neither a model nor a tokenizer"
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        return f"{name}: no such folder, and no step makes it"
    return _why_not_on_hub(name)


def _why_not_on_hub(name: str) -> str | None:
    """Ask the local cache first, then the hub, once and without retries."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        if huggingface_hub.try_to_load_from_cache(name, "config.json"):
            return None
        huggingface_hub.HfApi().auth_check(name)
    except errors.GatedRepoError:
        return f"{name}: is gated, and the token of this machine (if there is one) has no access to it"
    except errors.RepositoryNotFoundError:
        return f"{name}: the hub has no model of this name, or it is private"
    except errors.HFValidationError:
        return f"{name}: neither a folder here nor the id of a model on the hub"
    except Exception as error:  # whatever the HTTP library raises without a network
        return f"{name}: is not in the local cache, and the hub cannot be reached ({type(error).__name__})"
    return None
