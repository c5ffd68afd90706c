"""Context distillation for safety on the quickstart's model, with and without targeting (section 4.2.4)."""
