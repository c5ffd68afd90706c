"""The reward models of all rounds against the preferences of all rounds: why the paper trains them anew each round."""
