"""Translating sentences: `hf-kit predict` beside `generate` text by text, same model, same beams, same outputs.

    python benchmarks/translation_decoding.py --run RUN

RUN is a finished run of the translation task (`recipes/translation/from_scratch.yaml` on tatoeba_en_zh, say). Both
sides compute in float32, so that what they write can be compared; the kit's own precision is measured beside them. It
needs HF_KIT_DATA. Writes `translation_decoding.md` and `.json` beside this file.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import side_by_side
from side_by_side import column, markdown_table, ratios, spread

NAMES = {
    "kit": "hf_kit predict, float32",
    "precision": "hf_kit predict, the run's own precision",
    "single": "generate, text by text",
}
WARMUP_TEXTS = 16


def main() -> int:
    parser = side_by_side.parser(__doc__, repeats=3)
    parser.add_argument("--run", required=True, help="a finished translation run")
    parser.add_argument("--texts", type=int, default=400, help="sentences to translate (default 400)")
    flags = parser.parse_args()
    side_by_side.needed("HF_KIT_DATA")
    if flags.measure:
        translate(flags)
    else:
        with tempfile.TemporaryDirectory(prefix="translation_decoding_") as folder:
            os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"
            compare(flags, Path(folder))
    return 0


def compare(flags: argparse.Namespace, folder: Path) -> None:
    variants = {name: lambda name=name: side_by_side.measure_self(name, folder) for name in NAMES}
    runs = side_by_side.in_turn(variants, flags.repeats, tell="texts_per_second")
    answers = {name: own[0]["answers"] for name, own in runs.items()}
    for own in runs.values():
        for numbers in own:
            del numbers["answers"]
    rows = []
    for name, own in runs.items():
        same = sum(a == b for a, b in zip(answers[name], answers["single"], strict=True))
        rows.append(
            [
                NAMES[name],
                f"{spread(column(own, 'texts_per_second')):.1f}",
                "" if name == "single" else f"{ratios(column(runs['single'], 'seconds'), column(own, 'seconds')):.2f}",
                f"{same:,} of {flags.texts:,}",
                f"{spread(column(own, 'peak_anonymous_mb')):,.0f}",
            ]
        )
    head = ["variant", "texts/s", "times as fast as text by text", "outputs equal to it", "peak anonymous MB"]
    about = [
        f"{flags.texts:,} English sentences of tatoeba_en_zh's test rows; beams and lengths of the model's own "
        f"generation_config. Median (least..most) of {flags.repeats} rounds, every measurement a process of its own, "
        f"in turn; after loading and {WARMUP_TEXTS} other texts, tokenizing included."
    ]
    data = {"settings": {"texts": flags.texts}, "runs": runs}
    side_by_side.write_results("translation_decoding", about, [markdown_table(head, rows)], data)


def translate(flags: argparse.Namespace) -> None:
    """Write texts per second and the translations."""
    lines = side_by_side.evenly(side_by_side.data_lines("tatoeba_en_zh", "test.jsonl"), flags.texts + WARMUP_TEXTS)
    texts = [json.loads(line)["en"] for line in lines]
    warm, texts = texts[flags.texts :], texts[: flags.texts]
    if flags.measure == "single":
        answer = text_by_text(flags.run)
    else:
        from hf_kit.prediction import predict
        from hf_kit.saved_run import open_run

        run = open_run(flags.run)
        bf16 = False if flags.measure == "kit" else None

        def answer(some: list[str]) -> list[str]:
            return [answer["translation"] for _, answer in predict(run, some, bf16=bf16)]

    answer(warm)
    start = time.perf_counter()
    answers = answer(texts)
    seconds = time.perf_counter() - start
    side_by_side.finish(
        {"seconds": seconds, "texts_per_second": len(texts) / seconds, "answers": answers}, flags.result
    )


def text_by_text(folder: str):
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    import hf_kit.models  # noqa: F401  the recurrent model is known to the Auto classes

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def answer(some: list[str]) -> list[str]:
        written = (model.generate(**tokenizer(text, truncation=True, return_tensors="pt"))[0] for text in some)
        return [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in written]

    return answer


if __name__ == "__main__":
    sys.exit(main())
