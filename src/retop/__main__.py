"""``python -m retop``: the command, where its script is not on the path."""

from retop.cli import main

if __name__ == "__main__":
    main()
