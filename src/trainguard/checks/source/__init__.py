"""TG8xx: training and evaluation source code."""
