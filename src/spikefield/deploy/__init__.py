"""At the rig: decode a live stream with a model folder."""
