"""What a step will take in memory and time on a named GPU, by arithmetic, before anything is loaded."""
