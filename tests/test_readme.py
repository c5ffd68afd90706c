"""What the README tells people to type works: its Python as it stands, its commands by their names and options."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from recipes.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def rounds_commands():
    """Every `rounds …` line of the README as words, comments left out and continued lines joined."""
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    commands = [line.split("#")[0].split("rounds ", 1)[1].split() for line in lines if re.search(r"\brounds \w", line)]
    return [words for words in commands if not words[-1].startswith("--help")]


def test_the_snippet_answers(tiny_checkpoint, capsys):
    (snippet,) = blocks("python")
    named = re.sub(r'"runs/[^"]*"', repr(str(tiny_checkpoint)), snippet)
    assert named != snippet
    exec(compile(named, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("words", rounds_commands(), ids=" ".join)
def test_commands_and_options_exist(words):
    command = get_command(main)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words[0]]
        words = words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known
    assert not hasattr(command, "commands"), f"{words} names no command"
