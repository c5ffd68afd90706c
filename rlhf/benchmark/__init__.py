"""Public benchmarks of a chat checkpoint, by EleutherAI's evaluation harness."""
