"""The pages: server-rendered HTML that works by itself, and gets live where JavaScript runs."""
