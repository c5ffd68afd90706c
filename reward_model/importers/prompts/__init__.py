"""Prompts for sampling, taken from imported preferences and conversations."""
