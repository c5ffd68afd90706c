"""A recipe that extends another: whose files and fields it has, what replaces what, and bad ones named."""

import pytest
import yaml

from chat_model.errors import InputError
from recipes.chain import steps_of
from recipes.recipe import read_recipe


@pytest.fixture
def extend(make_toy, tmp_path):
    """Return a function that writes the recipe ``longer`` (its recipe.yaml and other files), which extends the toy."""
    toy = make_toy(seed=7)

    def write(name: str = "longer", **files: dict):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        files = {"recipe": {"name": name, "extends": f"../{toy.folder.name}"}, **files}
        for stem, content in files.items():
            (folder / f"{stem}.yaml").write_text(yaml.safe_dump(content))
        return folder

    write.toy = toy
    return write


def test_files_and_fields_of_the_extended_recipe_hold_unless_replaced(extend):
    """A field that is not named must stay the extended recipe's, in a stage file and in recipe.yaml alike."""
    folder = extend(first={"rate": 0.25})
    recipe = read_recipe(folder)
    first, second, *_ = steps_of(recipe)
    assert (recipe.name, recipe.seed, recipe.root.name) == ("longer", 7, "longer")
    assert first.arguments == {"seed": 7, "text": "first hello.", "rate": 0.25, "fail": "", "sleep": 0.0}
    assert second.arguments["rate"] == 0.5


def test_variables_are_taken_over_one_by_one(extend):
    folder = extend(recipe={"name": "longer", "extends": "../toy_recipe", "variables": {"word": "bye"}})
    recipe = read_recipe(folder, settings=["data=x"])
    assert recipe.variables == {"word": "bye", "data": "x"}


def test_recipe_is_the_folder_of_the_file_that_says_it(extend):
    """Otherwise a file beside the extended YAML (the quickstart's constraints) would be sought in the new folder."""
    extend.toy.edit("first.yaml", text="{recipe}/rows.jsonl")
    folder = extend(second={"text": "{recipe}/rows.jsonl"})
    first, second, *_ = steps_of(read_recipe(folder))
    assert first.arguments["text"] == f"{extend.toy.folder}/rows.jsonl"
    assert second.arguments["text"] == f"{folder}/rows.jsonl"


def test_settings_and_rounds_may_name_fields_of_either_recipe(extend):
    folder = extend(first={"rate": 0.25, "source": "own"})
    for setting in ("first.source=other", "first.sleep=1", "second.rate=1"):
        assert read_recipe(folder, settings=[setting]).overrides
    with pytest.raises(InputError, match=r"no file 'frst.yaml' \(did you mean 'first'\?\)"):
        read_recipe(folder, settings=["frst.rate=1"])


def test_a_recipe_may_extend_one_that_extends_another(extend):
    extend(first={"rate": 0.25, "sleep": 1.0})
    folder = extend("longest", recipe={"name": "longest", "extends": "../longer"}, first={"rate": 0.75})
    first = steps_of(read_recipe(folder))[0]
    assert (first.arguments["rate"], first.arguments["sleep"], first.arguments["text"]) == (0.75, 1.0, "first hello.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": "longer", "extends": "../toy_recip"}, "field 'extends': ../toy_recip: no such recipe folder"),
        ({"name": "longer", "extends": ["a"]}, "field 'extends': found ['a']; expected the name or the folder"),
        ({"name": "longer", "extends": "../longer"}, "leads back to"),
        ({"extends": "../toy_recipe"}, "field 'name' is missing"),
        ({"name": "longer", "extends": "../toy_recipe", "sead": 1}, "unknown key 'sead' (did you mean 'seed'?)"),
    ],
)
def test_a_bad_extension_names_file_and_field(extend, content, message):
    """The name is not taken over: two recipes with one name would take each other's output folder for their own."""
    folder = extend(recipe=content)
    with pytest.raises(InputError) as error:
        read_recipe(folder)
    assert message in str(error.value) and "recipe.yaml" in str(error.value) and "\n" not in str(error.value)
