"""Public datasets to our files, one module a dataset: its rows become preference pairs or conversations."""
