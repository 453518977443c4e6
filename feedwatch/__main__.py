"""`python -m feedwatch`."""

from feedwatch.cli.app import main

if __name__ == "__main__":
    main()
