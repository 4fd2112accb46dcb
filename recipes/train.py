"""Train any task with any model:

    accelerate launch recipes/train.py [RECIPE.yaml] [--flag value ...]

Without a recipe: the quickstart, on the sample that comes with the kit. All flags: hf-kit train --help
"""

import sys

from hf_kit import console
from hf_kit.errors import UserError


def main(argv: list[str]) -> int:
    """Parse, train, save; 0, or 1 after one clear error."""
    try:
        from hf_kit.parsing import parse_arguments
        from hf_kit.run import train

        train(parse_arguments(argv))
    except UserError as mistake:
        console.error(str(mistake))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
