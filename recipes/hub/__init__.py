"""Chat checkpoints on the Hugging Face hub: their model card, and the upload."""
