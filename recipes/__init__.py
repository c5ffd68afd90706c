"""Recipes: the whole of Llama 2-Chat as folders of YAML, and what runs them (resume, launch, report, `rounds`)."""
