"""The embedded default recipe: a small world where every claim is checked by rule, and a tiny Llama that learns it."""
