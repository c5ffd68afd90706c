"""Ghost Attention measured whole: every scenario, long dialogues, a kind left out, the masking, what else changes."""
