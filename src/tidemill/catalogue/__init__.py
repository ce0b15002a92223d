"""From sources over files to items."""
