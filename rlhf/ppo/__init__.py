"""Proximal policy optimisation with the two-reward objective of Llama 2-Chat (section 3.2.3)."""
