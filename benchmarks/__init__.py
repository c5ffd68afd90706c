"""Side-by-side runs against peers, each a module: ``python -m benchmarks.generation``, ``python -m benchmarks.sft``."""
