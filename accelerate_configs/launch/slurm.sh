#!/usr/bin/env bash
# Several machines under Slurm; run folder, data and environment on a file system that all of them see:
#   sbatch --nodes=2 --gpus-per-node=8 accelerate_configs/launch/slurm.sh RECIPE.yaml --output_dir runs/big
# A job that is preempted, or near its time limit, gets SIGTERM: it finishes the step, saves, and Slurm queues the same
# command again, which goes on from there. What is lost without a signal is ten minutes' work at most (--save_minutes).
#SBATCH --job-name=hf-kit
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# To the batch script (B:), which hands it to the steps; the seconds are what saving may take.
#SBATCH --signal=B:TERM@300
set -euo pipefail

main_host=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000)) # two jobs on one machine do not meet
processes=$((SLURM_NNODES * ${GPUS_PER_NODE:-${SLURM_GPUS_ON_NODE:-1}}))

# SLURM_NODEID is each machine's own: the inner shell reads it, not this one.
# shellcheck disable=SC2016
srun --kill-on-bad-exit=1 bash -c '
    exec hf-kit train "${@:4}" --accelerate_config multi_node \
        --num_machines "$SLURM_NNODES" --machine_rank "$SLURM_NODEID" \
        --num_processes "$1" --main_process_ip "$2" --main_process_port "$3" --save_minutes 10
' hf-kit "$processes" "$main_host" "$port" "$@" &
step=$!

stopped=""
# Not `kill`: srun itself, told to end, ends its step with SIGKILL. scancel's signals go to the steps alone.
trap 'stopped=yes; scancel --signal=TERM "$SLURM_JOB_ID"' TERM
status=0
wait "$step" || status=$?
if [ -n "$stopped" ]; then
    wait "$step" || status=$? # the first wait ends with the signal, the second with the step
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
