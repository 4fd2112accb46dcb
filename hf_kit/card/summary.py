"""The top of a card: what the model is, in one sentence, and its scores beside the baselines'."""

from hf_kit.card.escaping import shown
from hf_kit.card.facts import MULTI, REGRESSION, Facts
from hf_kit.card.markdown import joined, listed, table
from hf_kit.card.names import architecture, base_phrase, data_phrase, title, translation_phrase
from hf_kit.card.scores import baseline_name, better, headline, metric_name, number_of_rows, score, verdict

MOST_NAMED = 8  # labels in a sentence
CLEAN = "&emsp;the {}clean rows"  # below the line of the same system on all rows


def summary(facts: Facts) -> str:
    return joined(f"# {shown(title(facts), 200)}", _sentence(facts), scores_table(facts), verdict_sentence(facts))


def _sentence(facts: Facts) -> str:
    name = architecture(facts)
    size = facts.results["training"]["parameters"]
    how = f"trained from nothing on {data_phrase(facts)}"
    if base := base_phrase(facts):
        means = "with LoRA adapters " if facts.adapter else ""
        how = f"finetuned {means}from {base} on {data_phrase(facts)}"
    return f"{name[0].upper()}{name[1:]} of {_millions(size)} parameters, {how}. {_answer(facts)}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.3g} million" if count >= 1e6 else f"{count:,}"


def _answer(facts: Facts) -> str:
    if facts.translates:
        return f"It translates a text {translation_phrase(facts)}."
    read = "an image" if facts.noun == "image" else "a pair of texts" if facts.pairs else "a text"
    if facts.problem == REGRESSION:
        bounds = facts.checks.get("train", {}).get("label_range")
        seen = f"; those it was trained on go from {bounds[0]:g} to {bounds[1]:g}" if bounds else ""
        return f"It gives {read} a number{seen}."
    count = len(facts.labels)
    named = f": {listed([f'*{shown(label)}*' for label in facts.labels])}" if count <= MOST_NAMED else ""
    many = f"any of {count:,} labels" if facts.problem == MULTI else f"one of {count:,} labels"
    return f"It gives {read} {many}{named}."


def scores_table(facts: Facts) -> str | None:
    """A row for each system, on all rows and below it on the clean ones; the best of each column in bold."""
    split = facts.split
    if split is None:
        return None
    results, clean = facts.results, facts.results.get("clean", {})
    metrics = headline(results[split], facts.metric)
    rows = []

    def add(name: str, on_all: dict | None, on_clean: dict | None) -> None:
        if on_all:
            rows.append([name, *_cells(metrics, on_all)])
        if on_clean:
            rows.append([CLEAN.format(f"{clean['rows'][split]:,} "), *_cells(metrics, on_clean)])

    seeds = results.get("seeds")
    add("**this model**" + (f" (seed {seeds['best']})" if seeds else ""), results[split], clean.get(split))
    best = _best(facts, metrics, split)
    rows[0] = [rows[0][0], *(f"**{c}**" if best[m] is None else c for m, c in zip(metrics, rows[0][1:], strict=True))]
    if seeds:
        for name, of in ((f"mean ± sd of {len(seeds['runs'])} seeds", seeds), (CLEAN.format(""), clean.get("seeds"))):
            if of and split in of["mean"]:
                mean, sd = of["mean"][split], of["sd"][split]
                cells = [f"{score(m, mean[m])} ± {score(m, sd[m])}" if m in mean else "" for m in metrics]
                rows.append([name, *cells])
    for name, scores in results.get("baselines", {}).items():
        on_clean = clean.get("baselines", {}).get(name, {}).get(split)
        add(shown(baseline_name(name)), scores.get(split), on_clean)
    for row in rows:
        for i, metric in enumerate(metrics, 1):
            name = best[metric]
            if name is not None and row[0] == shown(baseline_name(name)):
                row[i] = f"**{row[i]}**"
    return table([f"{number_of_rows(facts, split):,} {split} rows", *map(metric_name, metrics)], rows)


def _cells(metrics: list[str], scores: dict[str, float]) -> list[str]:
    return [score(m, scores[m]) if m in scores else "" for m in metrics]


def _best(facts: Facts, metrics: list[str], split: str) -> dict[str, str | None]:
    """By metric the baseline that is as good as this model or better; None where there is none."""
    out: dict[str, str | None] = {}
    for metric in metrics:
        best, out[metric] = facts.results[split][metric], None
        for name, scores in facts.results.get("baselines", {}).items():
            theirs = scores.get(split, {}).get(metric)
            if theirs is not None and better(facts, metric, theirs, best):
                best, out[metric] = theirs, name
    return out


def verdict_sentence(facts: Facts) -> str:
    found = verdict(facts)
    if found is None:
        return "No labelled rows were kept to score it on: how good it is, nobody has measured."
    name, ours = metric_name(found.metric), score(found.metric, found.ours)
    spread = f" ± {score(found.metric, found.sd)} in the mean of its seeds" if found.sd is not None else ""
    where = f"{found.rows:,} {facts.split} rows" + (f" whose {facts.noun}s are not in train" if found.clean else "")
    flattering = ""
    if facts.split == "validation":
        flattering = " These rows also chose the model, so the score flatters it."
    if not found.baselines:
        return f"Its {name} is {ours}{spread} on {where}. No simple model was scored beside it.{flattering}"
    if found.winners:
        scores = listed([f"{baseline_name(w)} ({score(found.metric, found.baselines[w])})" for w in found.winners])
        does = "do" if len(found.winners) > 1 else "does"
        return (
            f"**A plain baseline wins.** On {where}, {scores} {does} as well or better in {name} than this model "
            f"({ours}{spread}).{flattering}"
        )
    scores = listed([f"{baseline_name(n)} {score(found.metric, s)}" for n, s in found.baselines.items()])
    return f"On {where} its {name} is {ours}{spread}; {scores}.{flattering}"
