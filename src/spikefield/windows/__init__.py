"""What a network sees: blocked splits, sessions on a grid of bins, windows and batches."""
