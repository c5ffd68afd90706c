"""Demonstrations of how a careful helper answers under a safety preprompt; a model this small has to be shown."""
