"""TG13x and TG14x: checkpoints, run folders and full models on disk."""
