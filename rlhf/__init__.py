"""Reinforcement learning from human feedback (section 3.2): preferences, rejection sampling, PPO and win rates."""
