"""`python -m disco`: the command disco."""

import sys

if __name__ == "__main__":
    # Python puts the working directory first (with -P and -I it does not). That is the application's, as PYTHONPATH is.
    if not sys.flags.safe_path:
        del sys.path[0]
    from disco.cli import main

    main()
