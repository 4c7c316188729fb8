"""`python -m diffcl` is the command `diffcl`."""

from diffcl.cli.main import main

if __name__ == "__main__":
    main()
