"""Ghost Attention (section 3.3): dialogues in which an instruction given once keeps holding, and how far it does."""
