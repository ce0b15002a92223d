"""What a physicist imports: steps, and a client of the site."""
