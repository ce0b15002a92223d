"""Alembic's home: `versions/` holds one file per change of the schema."""
