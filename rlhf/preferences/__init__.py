"""Preference collection (section 3.2.1): two responses a prompt from two checkpoints, compared by an annotator."""
