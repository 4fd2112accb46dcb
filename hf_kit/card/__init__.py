"""The model card of a finished run folder, and the recipe that is published beside it.

The bar were the cards of SetFit and sentence-transformers, which are written from what a trainer knows: metadata,
usage, scores, settings. Different here: a card is a pure function of the run folder, every score stands beside a
baseline, a baseline that wins is said first, the limits follow from the facts, and what is not known is left out
instead of left as a blank to fill in.
"""

from hf_kit.card.recipe import published_recipe
from hf_kit.card.write import write_card

__all__ = ["published_recipe", "write_card"]
