"""Further ways to fake a score, below and around the methods, and further honest set-ups."""
