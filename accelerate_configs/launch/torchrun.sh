#!/usr/bin/env bash
# Several machines that come and go, without a scheduler; on each the same command, again and again as it comes back:
#   NODES=2 MAIN_HOST=10.0.0.1 accelerate_configs/launch/torchrun.sh RECIPE.yaml --output_dir runs/big
# When a machine is lost, the processes of the others end, wait at the rendezvous, and all start again from the last
# checkpoint when it is back. The number of machines stays the same, since a checkpoint belongs to a number of processes.
# Not MAIN_HOST: it holds the rendezvous, and when it goes, the command is given anew on all. The run folder is on a file
# system that all see.
set -euo pipefail

: "${NODES:?how many machines}" "${MAIN_HOST:?the address of one of them, the same on all}"
per_node=${PROCESSES_PER_NODE:-gpu} # gpu: one for each; on CPUs a number
train=$(cd "$(dirname "$0")/../../recipes" && pwd)/train.py

# torch looks for MAIN_HOST among the addresses of this machine's name; one with several networks, or whose name leads
# elsewhere, says its own in LOCAL_ADDR.
rendezvous="join_timeout=${JOIN_TIMEOUT:-3600}"
local_addr=()
if [ -n "${LOCAL_ADDR:-}" ]; then
    local_addr=(--local_addr "$LOCAL_ADDR")
    if [ "$LOCAL_ADDR" = "$MAIN_HOST" ]; then rendezvous+=",is_host=true"; else rendezvous+=",is_host=false"; fi
fi

# Else a machine that comes back is not told the address of the first process: the others know it from before the loss,
# and torch 2.13 lets them keep that to themselves (dynamic_rendezvous.py, `_bootstrap_store_info`).
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1

# A mistake in the flags is told once, here: the launcher would start it again and again.
python -c '
import sys
from hf_kit import console
from hf_kit.errors import UserError
from hf_kit.parsing import parse_arguments
try:
    parse_arguments(sys.argv[1:])
except UserError as reason:
    console.error(str(reason))
    sys.exit(1)
' "$@"

# save_minutes: how much work the loss of a machine may cost. After join_timeout seconds without it the others give up.
exec python -m torch.distributed.run \
    --nnodes "$NODES" --nproc_per_node "$per_node" --max_restarts "${MAX_RESTARTS:-100}" --shutdown_timeout 300 \
    --rdzv_id "${JOB_ID:-hf-kit}" --rdzv_backend c10d --rdzv_endpoint "$MAIN_HOST:${PORT:-29500}" \
    --rdzv_conf "$rendezvous" "${local_addr[@]}" \
    "$train" "$1" --save_minutes 10 "${@:2}"
