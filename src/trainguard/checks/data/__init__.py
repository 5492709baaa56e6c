"""TG7xx: data sets."""
