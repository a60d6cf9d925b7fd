"""What a caller's mistake becomes: one line that names the argument, the rule, what came and the remedy."""


class InputError(ValueError):
    """A mistake in what the caller brought; the command line prints it as one line and exits with status 2."""


class DroppedDataWarning(UserWarning):
    """Something of a recording was left out; the message lists what and why."""
