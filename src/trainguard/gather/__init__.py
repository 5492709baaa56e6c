"""Readers that turn the world into facts; those that need torch import it when they run."""
