"""Checkpoints side by side on held-out prompts (Figure 11): scores, win rates with intervals, sample responses."""
