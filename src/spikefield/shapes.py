"""The names of array axes, used in every signature: batch, time, unit, channel, patch, slot, token, dim."""
