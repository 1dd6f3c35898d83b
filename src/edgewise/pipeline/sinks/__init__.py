"""What carries actions out."""
