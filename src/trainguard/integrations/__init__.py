"""Ways in: files, the Trainer, a plain loop, an evaluation."""
