"""TG6xx: evaluation under audit."""
