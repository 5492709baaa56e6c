"""trainguard-house-rules: checks for trainguard."""
