"""Objectives: what is optimised, and in which updates."""
