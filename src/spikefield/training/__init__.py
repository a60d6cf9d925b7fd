"""The stages: pretrain, fine-tune, distil. The loop is Lightning's."""
