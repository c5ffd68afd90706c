"""Reward models from graded preferences: ranking loss with a margin, safety labels on the same scalar (§3.2.2)."""
