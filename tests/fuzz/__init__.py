"""The fuzz run: damaged copies of what PEFT, Trainer and trainguard save; see `__main__`."""
