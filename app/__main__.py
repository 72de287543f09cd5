"""`python -m app`: the command line of `app/server/cli.py`."""

from app.server.cli import main

if __name__ == "__main__":
    main()
