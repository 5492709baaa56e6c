"""TG9xx: rewards, generation and ranks."""
