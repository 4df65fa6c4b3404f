"""`python -m syncd`, and the `syncd` command."""

from syncd.cli import main

if __name__ == "__main__":
    main()
