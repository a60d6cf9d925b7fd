#!/bin/bash
# Pretrain on two nodes of four GPUs; go on where the time limit cut it short.
#
#     sbatch examples/slurm.sh prepared/ out/teacher
#
# SLURM warns a minute and a half before the limit (SIGUSR1); training then keeps its state and leaves with a status
# above 128, the job is queued again, and the same command goes on from that state. Killed nodes cost a minute at most.
#SBATCH --job-name=spikefield
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gres=gpu:4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=USR1@90
#SBATCH --requeue
#SBATCH --open-mode=append

srun spikefield pretrain "$1" --out "$2" --preset paper \
  --hardware.accelerator gpu --hardware.precision bf16-mixed --hardware.devices 4 --hardware.num_nodes 2
status=$?
if [ "$status" -gt 128 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
