"""PostgreSQL: models (the schema's one truth), migrations, the embedded server, and SQL for what moves sets."""
