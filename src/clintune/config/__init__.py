"""Recipes: found, composed, checked within a second and without torch."""
