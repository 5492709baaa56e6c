"""TG4xx: gradients and updates."""
