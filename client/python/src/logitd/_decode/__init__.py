"""Decoding and scoring with logits that the caller computes; the public names are in logitd itself."""
