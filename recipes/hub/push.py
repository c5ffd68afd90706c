"""Upload a checkpoint to the Hugging Face hub with its model card."""

import tempfile
from pathlib import Path

from chat_model.errors import InputError
from recipes.hub.card import chat_card

_CARD = "README.md"
_NOT_UPLOADED = ["checkpoint-*", "optimizer*", "trainer_state.json", "run.json", "metrics.jsonl", "*.bin"]


def card_text(checkpoint: Path, repository: str) -> str:
    """Return the card that the stage wrote (a reward model has one), or one made from the stages' records."""
    written = checkpoint / _CARD
    return written.read_text(encoding="utf-8") if written.is_file() else str(chat_card(checkpoint, repository))


def push(checkpoint: Path, repository: str, private: bool = True) -> str:
    """Upload weights, tokenizer and card to `repository` (made when missing); return its address.

    `run.json` stays here: it names folders of this machine.

    Raises:
        InputError: the folder holds no model, or the hub refuses (no token, no right, no network).
    """
    from huggingface_hub import HfApi

    if not any(checkpoint.glob("*.safetensors")):
        raise InputError(f"{checkpoint}: holds no weights (*.safetensors); expected a checkpoint")
    card, api = card_text(checkpoint, repository), HfApi()
    try:
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=checkpoint, ignore_patterns=[*_NOT_UPLOADED, _CARD])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / _CARD
            file.write_text(card, encoding="utf-8")
            api.upload_file(path_or_fileobj=file, path_in_repo=_CARD, repo_id=repository)
    except Exception as error:  # the client lets its HTTP library's own errors through, and that library changes
        raise InputError(
            f"{repository}: the hub refused ({str(error).splitlines()[0]}); see `hf auth login`"
        ) from error
    return str(address)
