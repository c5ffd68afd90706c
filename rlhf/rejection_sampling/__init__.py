"""Rejection sampling fine-tuning (section 3.2.3): K responses a prompt, the best of them and of earlier rounds."""
