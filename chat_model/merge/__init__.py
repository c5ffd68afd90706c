"""Merge a LoRA adapter into its base model."""
