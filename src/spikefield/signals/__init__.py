"""How the signals were cleaned: filters, binning and normalisation, statistics from training time only."""
