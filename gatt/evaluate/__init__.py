"""Measure, turn by turn, whether a model still follows an instruction that was given in the first turn."""
