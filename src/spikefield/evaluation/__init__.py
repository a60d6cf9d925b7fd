"""How well behaviour can be read: linear readout, classical baselines, nulls, statistics."""
