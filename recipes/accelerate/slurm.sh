#!/usr/bin/env bash
# A recipe on the machines of a SLURM allocation. `rounds` runs on the first one and starts each stage on all of them.
#
#   sbatch --nodes=16 recipes/accelerate/slurm.sh llama2_70b --output /shared/runs/llama2_70b
#
# The output folder and the Hugging Face cache have to be on a disk that all machines share. A job that was stopped goes
# on with the same command.
#SBATCH --job-name=rounds
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --time=24:00:00
set -euo pipefail

gpus=${SLURM_GPUS_ON_NODE:-8}
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000)) # another job on the head machine has another one

# What replaces `accelerate launch` before the stage and its launch config; the last option is for DeepSpeed alone.
export ROUNDS_LAUNCHER="srun --nodes=$SLURM_JOB_NUM_NODES --ntasks-per-node=1 --kill-on-bad-exit=1 \
accelerate launch --num_machines $SLURM_JOB_NUM_NODES --num_processes $((SLURM_JOB_NUM_NODES * gpus)) \
--main_process_ip $head --main_process_port $port --rdzv_backend c10d --machine_rank 0 \
--deepspeed_multinode_launcher standard"

exec rounds run "$@"
