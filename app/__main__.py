"""Run the service: `python -m app`. The command line is in `app/server/cli.py`."""

from app.server.cli import main

if __name__ == "__main__":
    main()
