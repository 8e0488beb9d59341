"""What export and the edge share: manifest, latents, pixels, files. Needs NumPy only."""
