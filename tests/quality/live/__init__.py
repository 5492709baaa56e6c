"""Real runs with one fault each, and their healthy twins."""
