"""Reading a recipe: strictness, `--set`, variables, rounds, and the steps that come of it."""

from pathlib import Path

import pytest

from chat_model.errors import InputError
from recipes.chain import steps_of
from recipes.overrides import fill, parse_setting
from recipes.recipe import PACKAGED, Recipe, Round, find_recipe, read_recipe
from recipes.step import Step


def test_listed_steps_carry_yaml_variables_seed_and_outputs_of_earlier_steps(make_toy):
    toy = make_toy(seed=7)
    first, second, *_ = steps_of(read_recipe(toy.folder, toy.root))
    arguments = {"seed": 7, "text": "first hello.", "rate": 0.5, "fail": "", "sleep": 0.0}
    assert first == Step("first", "toy_stage", arguments, toy.root / "first", "first")
    assert second.arguments["source"] == str(toy.root / "first")


def test_settings_reach_variables_fields_and_the_seed(make_toy):
    toy = make_toy()
    recipe = read_recipe(toy.folder, toy.root, ["word=bye", "second.rate=0.25", "seed=3"])
    first, second, *_ = steps_of(recipe)
    assert (first.arguments["text"], first.arguments["seed"], first.arguments["rate"]) == ("first bye.", 3, 0.5)
    assert second.arguments["rate"] == 0.25


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("wrd=x", "unknown variable 'wrd' (did you mean 'word'?)"),
        ("secnd.rate=1", "no file 'secnd.yaml' (did you mean 'second'?)"),
        ("second.rat=1", "second.yaml has no field 'rat' (did you mean 'rate'?)"),
        ("recipe.name=x", "no file 'recipe.yaml'"),
        ("word", "expected key=value"),
        ("=x", "expected key=value"),
        ("word=[1,", "not YAML"),
        ("seed=many", "field 'seed': found 'many'; expected int"),
        ("seed=true", "field 'seed': found True; expected int"),
        ("accelerate=cpuu", "no launch config 'cpuu' (did you mean 'cpu'?)"),
        ("tensor_parallel=0", "field 'tensor_parallel': found 0 with 1 processes"),
        ("tensor_parallel=2", "field 'tensor_parallel': found 2 with 1 processes"),
    ],
)
def test_bad_setting_is_one_clear_line(make_toy, setting, message):
    toy = make_toy()
    with pytest.raises(InputError) as error:
        read_recipe(toy.folder, toy.root, [setting])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variabels": {}}, "unknown key 'variabels' (did you mean 'variables'?)"),
        ({"chain": "llama3_chat"}, "field 'chain': found 'llama3_chat'"),
        ({"rounds": {"name": "x"}}, "field 'rounds': found"),
        ({"rounds": ["RLHF-V1"]}, "expected {name: …, stages: […]}"),
        ({"rounds": [{"name": "V1", "stages": ["ppoo"]}]}, "unknown key 'ppoo' (did you mean 'ppo'?)"),
        ({"rounds": [{"name": "V1", "override": {}}]}, "unknown key 'override' (did you mean 'overrides'?)"),
        ({"rounds": [{"name": "V1", "overrides": {"first.rat": 1}}]}, "no field 'rat' (did you mean 'rate'?)"),
        ({"steps": [{"name": "first", "modul": "x"}]}, "unknown key 'modul' (did you mean 'module'?)"),
        ({"steps": [{"name": "first"}]}, "field 'module': found None"),
        ({"steps": [{"name": "a", "module": "toy_stage", "for": {"seed": []}}]}, "field 'for': found {'seed': []}"),
        ({"steps": [{"name": "a", "module": "toy_stage", "config": "b.yaml"}]}, "b.yaml: cannot be read"),
        (
            {"steps": [{"name": "a", "module": "toy_stage", "arguments": {"source": "{steps.b}"}}]},
            "step 'a': no step before it for '{steps.b}'",
        ),
        ({"steps": [{"name": "a", "module": "toy_stage"}] * 2}, "the name 'a' is taken"),
    ],
)
def test_bad_recipe_names_file_and_key(make_toy, changes, message):
    toy = make_toy(**changes)
    with pytest.raises(InputError) as error:
        steps_of(read_recipe(toy.folder, toy.root))
    assert message in str(error.value)


def test_recipe_without_a_name_is_refused(make_toy):
    toy = make_toy()
    (toy.folder / "recipe.yaml").write_text("chain: steps\n")
    with pytest.raises(InputError, match="field 'name' is missing"):
        read_recipe(toy.folder)


def test_missing_recipes_are_named(tmp_path):
    with pytest.raises(InputError, match=r"hh_rlfh: no such recipe folder \(did you mean 'hh_rlhf'\?\)"):
        find_recipe("hh_rlfh")
    with pytest.raises(InputError, match="holds no recipe.yaml"):
        find_recipe(tmp_path)


def test_yaml_cannot_build_objects(make_toy):
    toy = make_toy()
    (toy.folder / "first.yaml").write_text("text: !!python/object/apply:os.system ['exit 1']\n")
    with pytest.raises(InputError, match=r"first.yaml: not YAML"):
        steps_of(read_recipe(toy.folder, toy.root))


def test_relative_paths_given_by_the_user_become_absolute_when_they_exist(make_toy, tmp_path, monkeypatch):
    toy = make_toy()
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").touch()
    Path("rows").mkdir()
    settings = ["data=rows.jsonl", "first.text=rows.jsonl", "second.text=rows", "word=gone.jsonl"]
    recipe = read_recipe(toy.folder, toy.root, settings)
    assert recipe.variables == {"data": str(tmp_path / "rows.jsonl"), "word": "gone.jsonl"}
    # A stage's field that does not look like a path stays a word, even where a folder happens to be called so.
    assert recipe.overrides == {"first.text": str(tmp_path / "rows.jsonl"), "second.text": "rows"}
    assert read_recipe(toy.folder, toy.root, ["data=rows"]).variables["data"] == str(tmp_path / "rows")


def test_values_of_settings_are_yaml_up_to_the_first_equals_sign():
    assert parse_setting("model=tiny:hidden_size=32,layers=2") == ("model", "tiny:hidden_size=32,layers=2")
    assert parse_setting("ppo.betas=[0.9, 0.95]") == ("ppo.betas", [0.9, 0.95])
    assert parse_setting("data=") == ("data", None)
    assert parse_setting("model=tiny:") == ("model", "tiny:")  # YAML reads a mapping there
    assert parse_setting("rm.margin={better: 1}") == ("rm.margin", {"better": 1})


def test_fill_keeps_types_and_foreign_braces():
    variables = {"n": 3, "data": "x.jsonl", "none": None}
    value = {"a": "{n}", "b": ["{data}.gz", "{question}"], "c": "{none}", "d": 1.5, "e": '{"json": 1}'}
    assert fill(value, variables, "here") == {
        "a": 3,
        "b": ["x.jsonl.gz", "{question}"],
        "c": None,
        "d": 1.5,
        "e": '{"json": 1}',
    }


def _recipe_with_round(folder: Path, **fields) -> Recipe:
    (folder / "rejection_sampling.yaml").write_text("temperature: 1.0\nnum_samples: 4\n")
    rounds = (Round("RLHF-V1", ("ppo",)), Round("RLHF-V2", ("ppo",), {"rejection_sampling.temperature": 1.1}))
    return Recipe(folder=folder, root=folder / "out", name="r", rounds=rounds, **fields)


def test_overrides_of_a_round_hold_in_it_alone_and_the_user_has_the_last_word(tmp_path):
    def temperature(recipe: Recipe, name: str) -> float:
        return recipe.step(name, "rlhf.rejection_sampling", "rejection_sampling.yaml").arguments["temperature"]

    recipe = _recipe_with_round(tmp_path)
    assert temperature(recipe, "RLHF-V1/rejection_sampling") == 1.0
    assert temperature(recipe, "RLHF-V2/rejection_sampling") == 1.1
    recipe = _recipe_with_round(tmp_path, overrides={"rejection_sampling.temperature": 0.7})
    assert temperature(recipe, "RLHF-V2/rejection_sampling") == 0.7


def test_step_takes_arguments_over_yaml_paths_as_text_and_a_readable_title(tmp_path):
    recipe = _recipe_with_round(tmp_path)
    step = recipe.step(
        "RLHF-V1/rejection_sampling",
        "x",
        "rejection_sampling.yaml",
        num_samples=8,
        model=tmp_path / "sft",
        where="{recipe}",
    )
    assert step.arguments == {
        "seed": 0,
        "temperature": 1.0,
        "num_samples": 8,
        "model": str(tmp_path / "sft"),
        "where": str(tmp_path),
    }
    assert step.output == tmp_path / "out" / "RLHF-V1" / "rejection_sampling"
    assert step.title == "RLHF-V1 / rejection sampling"


def test_a_field_that_the_chain_fills_in_cannot_be_overridden_in_silence(tmp_path):
    recipe = _recipe_with_round(tmp_path, overrides={"rejection_sampling.num_samples": 2})
    with pytest.raises(InputError, match="rejection_sampling.num_samples: cannot be overridden"):
        recipe.step("RLHF-V1/rejection_sampling", "x", "rejection_sampling.yaml", num_samples=8)


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in PACKAGED.glob("*/recipe.yaml")), ids=lambda folder: folder.name
)
def test_every_packaged_recipe_reads_into_steps(folder, tmp_path):
    recipe = read_recipe(folder, tmp_path)
    names = [step.name for step in steps_of(recipe)]
    assert names
    assert len(set(names)) == len(names)


def test_a_step_may_run_for_every_combination_and_hand_on_all_folders(make_toy):
    """An ablation: one entry for all runs, and a later step that reads them all, in the order they are listed."""
    grid = {"name": "grid", "module": "toy_stage", "for": {"margin": ["small", "large"], "seed": [0, 1]}}
    steps = [{**grid, "arguments": {"text": "{margin} {seed}", "seed": "{seed}"}}]
    steps += [{"name": "table", "module": "toy_stage", "arguments": {"sources": "{steps.grid}"}}]
    toy = make_toy(steps=steps)
    *runs, table = steps_of(read_recipe(toy.folder, toy.root))
    assert [step.name for step in runs] == ["grid/small_0", "grid/small_1", "grid/large_0", "grid/large_1"]
    assert [step.arguments["text"] for step in runs] == ["small 0", "small 1", "large 0", "large 1"]
    assert [step.arguments["seed"] for step in runs] == [0, 1, 0, 1]
    assert table.arguments["sources"] == [str(step.output) for step in runs]


def test_a_step_for_the_same_values_reads_from_its_counterpart(make_toy):
    """Otherwise every model of an ablation would be trained on the data of all settings."""
    values = {"margin": ["small", "large"], "seed": [0, 1]}
    data = {"name": "data", "module": "toy_stage", "for": values}
    model = {"name": "model", "module": "toy_stage", "for": values, "arguments": {"source": "{steps.data}"}}
    other = {"name": "other", "module": "toy_stage", "for": {"seed": [0]}, "arguments": {"sources": "{steps.data}"}}
    toy = make_toy(steps=[data, model, other])
    steps = {step.name: step for step in steps_of(read_recipe(toy.folder, toy.root))}
    for values in ("small_0", "small_1", "large_0", "large_1"):
        assert steps[f"model/{values}"].arguments["source"] == str(steps[f"data/{values}"].output)
    assert len(steps["other/0"].arguments["sources"]) == 4, "of other values, and so of all"
