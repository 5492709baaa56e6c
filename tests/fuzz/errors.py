"""What a mutation raises."""


class NotApplicableError(Exception):
    """The content does not hold what the mutation changes."""
