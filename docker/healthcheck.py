"""Exits with 0 where kgw says that it is ready: C{/readyz} on the port of C{KGW_HTTP_ENDPOINT}."""

import os
import re
import sys
import urllib.error
import urllib.request


def main() -> int:
    """The exit status; what is wrong goes to stderr."""
    endpoint = os.environ.get("KGW_HTTP_ENDPOINT", "")
    port = re.match(r"tcp:(?:port=)?(\d+)", endpoint)
    url = f"http://127.0.0.1:{port[1] if port else 8088}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=2.5):
            return 0
    except urllib.error.HTTPError as error:
        print(f"{url}: {error.code} {error.read(2000).decode('utf-8', 'replace')}", file=sys.stderr)
    except OSError as error:
        print(f"{url}: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
