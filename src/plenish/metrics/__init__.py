"""Fidelity, variety and copies of synthetic images, classification, statistics, and results in words."""
