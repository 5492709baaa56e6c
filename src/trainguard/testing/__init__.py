"""Assertions for tests of training code."""
