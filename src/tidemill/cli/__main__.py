"""`python -m tidemill.cli`: the same as `tidemill`, for processes that start another of their own installation."""

import sys

from tidemill.cli import main

sys.exit(main())
