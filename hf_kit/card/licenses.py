"""The licence that a card may name: the Hub refuses a card whose `license` it does not know."""

import re
from typing import Any

# huggingface.co/docs/hub/repositories-licenses
KNOWN = frozenset(
    "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m "
    "afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 "
    "cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 "
    "cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 "
    "cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gfdl gpl "
    "gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql "
    "ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license llama2 gemma other".split()
)


def license_of(base: dict[str, Any]) -> dict[str, str]:
    """The base model's licence as metadata of a model made from it; empty where it names none.

    One that the list above lacks is `other`, by its name. A link is kept where it leads to the web: a file of the base
    model's repository is not in this one.
    """
    name = base.get("license")
    if not name or name == "unknown":
        return {}
    out = {"license": name}
    if name not in KNOWN:
        out = {"license": "other", "license_name": _slug(name)}
    elif base.get("license_name"):
        out["license_name"] = _slug(base["license_name"])
    link = base.get("license_link", "")
    return out | ({"license_link": link} if link.startswith("https://") else {})


def _slug(name: str) -> str:
    """A name as the Hub writes it: lower case, no spaces."""
    return re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-") or "unnamed"
