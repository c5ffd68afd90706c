"""How text becomes tokens, and how a chat model is loaded, sampled and read: what the four stages share."""
