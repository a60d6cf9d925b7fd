"""The paper's equations: masking, masked autoencoding, distillation."""
