"""What can be said of an import before it starts: whether the source can be read, and what its first rows become."""

from chat_model.check_up import CheckUp
from chat_model.stage import StageRun
from reward_model.importers.importing import ImportArguments, import_dataset

_ROWS = 500


def check(check_up: CheckUp, arguments: ImportArguments) -> None:
    """Import the first rows; what they become stands in for the whole, so that later steps can be checked on it."""
    if check_up.output:
        return
    folder = check_up.place_for(arguments.output_dir)
    with check_up.check(
        "columns",
        "the import, and with it the whole chain, would stop here",
        "correct the source, or `name` if the rows have another schema; for a gated set run `hf auth login`",
    ):
        import_dataset(StageRun(folder), arguments, limit=_ROWS)
