"""`hf-kit doctor`: what this machine has, what is not well, and the command that mends it.

Nothing heavy is imported here: torch and its like are loaded by a process of their own (`probe_process`), so that a
broken one is a row of the table and not the end of it.
"""

import threading
from collections.abc import Callable

from hf_kit.doctor import gpu, hub, machine, packages, probe, speed
from hf_kit.doctor.cards import ask_nvidia_smi
from hf_kit.doctor.finding import Finding, failed, guarded


def diagnose() -> list[Finding]:
    """Look at everything, for some ten seconds. What breaks on the way is a finding too."""
    rows = []

    def check(name: str, run: Callable[[], list[Finding]]) -> None:
        rows.extend(guarded(name, run))

    answer_of_hub = _in_background(lambda: guarded("hub", hub.reachability))  # the libraries load meanwhile
    try:
        declared, names = packages.declared(), packages.import_names(packages.declared().requirements)
    except Exception as reason:
        declared, names = packages.Declared("", None, []), {}
        rows.append(failed("packages", reason))
    facts = probe.run({name: module for name, module in names.items() if name != "torch"})
    torch = facts["torch"]
    wanted = next((f"torch{r.specifier}" for r in declared.requirements if r.name == "torch"), "torch")

    check("python", lambda: machine.python(declared.requires_python))
    check("hf_kit", lambda: packages.kit(declared))
    check("packages", lambda: packages.packages(declared.requirements, facts))
    if not ("error" in torch and any(row.check == "torch" for row in rows)):  # said once is enough
        check("torch", lambda: gpu.torch_build(torch, wanted))
    check("GPU", lambda: gpu.gpus(torch, ask_nvidia_smi(), wanted))
    check("precision", lambda: gpu.precision(torch))
    check("cores", machine.cores)
    check("memory", machine.memory)
    check("disk (run folders)", machine.disk_here)
    check("disk (caches)", machine.disk_of_caches)
    rows.extend(answer_of_hub())
    check("token", hub.token)
    check("speed", lambda: speed.speeds(facts, machine.usable_cores()))
    return rows


def _in_background(run: Callable[[], list[Finding]]) -> Callable[[], list[Finding]]:
    """Start it now; the function returned waits for its findings, but not for ever (looking up a name may hang)."""
    found = []
    # A daemon: the program may end while it still hangs.
    thread = threading.Thread(target=lambda: found.append(run()), daemon=True)
    thread.start()

    def wait() -> list[Finding]:
        thread.join(hub.TIMEOUT)
        return found[0] if found else [hub.unreachable(TimeoutError("no answer"))]

    return wait
