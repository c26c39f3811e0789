"""Whether the service of this container answers: HEALTH_URL must give 200 within five seconds."""

import os
import sys
from urllib.error import URLError
from urllib.request import urlopen

url = os.environ.get("HEALTH_URL", "")
if not url:
    sys.exit(0)
try:
    with urlopen(url, timeout=5) as answer:
        sys.exit(0 if answer.status == 200 else 1)
except (URLError, OSError) as error:
    print(f"{url}: {error}", file=sys.stderr)
    sys.exit(1)
