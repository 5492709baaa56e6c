"""`python -m trainguard`."""

from trainguard.cli import main

if __name__ == "__main__":
    main()
