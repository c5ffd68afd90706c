"""What can be said of the small world before it is made: it is small enough to be made for `rounds doctor`, whole."""

from chat_model.check_up import CheckUp
from chat_model.loading import load_tokenizer
from chat_model.stage import StageRun
from recipes.quickstart.demonstrations import DemonstrationMix
from recipes.quickstart.world import WorldConfig, build


def check(check_up: CheckUp, config: WorldConfig, mix: DemonstrationMix) -> None:
    """Make the world's files where they do not stand yet, so that the steps after it can be checked on them."""
    if check_up.output:
        return
    folder = check_up.place_for(config.output_dir)
    with check_up.check("world", "every other step reads from it", "change the field that is named"):
        build(StageRun(folder), config, mix)
        check_up.models.provide(f"{config.output_dir}/tokenizer", load_tokenizer(folder / "tokenizer"))
