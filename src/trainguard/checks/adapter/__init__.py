"""TG1xx: adapters and checkpoints on disk."""
