"""The ends of a transfer: folders, object stores, SFTP servers, behind one contract (see `contract.py`)."""
