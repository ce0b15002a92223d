"""Apps, pipelines, batches, and the site file that describes them."""
