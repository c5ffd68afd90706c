"""Supervised fine-tuning on conversations (section 3.1): rows become tokens and labels, `trl.SFTTrainer` trains."""
