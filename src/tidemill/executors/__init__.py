"""Where steps run: one file per engine, one contract (see `contract.py`)."""
