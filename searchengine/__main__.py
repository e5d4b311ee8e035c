"""`python -m searchengine`."""

from searchengine.cli import main

main()
