"""`python -m ml COMMAND`: the command line of `ml/cli/main.py`."""

from ml.cli.main import main

if __name__ == "__main__":
    main()
