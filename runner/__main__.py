"""`python -m runner` is the `tau` command."""

from runner.cli import main

main()
