"""``python -m genir.cli`` is the same as ``genir``."""

from genir.cli import main

if __name__ == "__main__":
    main()
