"""Small programs on finished files."""
