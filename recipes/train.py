"""Train any task with any model:

    accelerate launch recipes/train.py [RECIPE.yaml] [--flag value ...]

Without a recipe: the quickstart, on the sample that comes with the kit. All flags: hf-kit train RECIPE --help

The same as `hf-kit train`, for launchers that start a file. The way of a run is hf_kit/run.py.
"""

import sys

from hf_kit.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
