"""Handing out what came out: for now, the documents of a run as a zip."""
