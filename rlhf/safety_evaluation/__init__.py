"""Red-team evaluation (sections 4.2.1 and 4.3): unsafe answers to adversarial prompts, refusals of borderline ones."""
