"""syncd that names at its end what it has imported: `python -m tests.daemon.naming`."""

import json
import sys

if __name__ == "__main__":
    from syncd.__main__ import main

    try:
        main()
    finally:
        sys.stderr.write(f"{json.dumps(sorted(sys.modules))}\n")
