"""Teach a field-potential model what a spike model knows: cross-modal distillation for neural decoding."""
