"""Whether tests take all the time they want: `make test-thorough`."""

import os

THOROUGH = bool(os.environ.get("SEGPIPE_THOROUGH"))
