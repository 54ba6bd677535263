"""What scores say: curves, body parts, pictures."""
