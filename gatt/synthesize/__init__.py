"""Sample dialogues under an instruction on every turn and write them with the instruction in the first turn only."""
