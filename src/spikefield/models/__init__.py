"""Tensors in, tensors out: tokenizer, attention, encoder, predictor."""
