#!/bin/sh
# Run one process per GPU on several nodes. Change the numbers here; srun and Lightning read them from the environment.
#   sbatch experiments/distributed/slurm.sh demo/symile.yaml [--key value ...]
#SBATCH --job-name=polyclinic
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# Ninety seconds before its time limit, or when it is preempted, the job gets a signal to save a checkpoint.
#SBATCH --signal=SIGUSR1@90
set -eu
config=$1
shift
export OMP_NUM_THREADS=1
exec srun python -m polyclinic.cli fit -c "$config" -c experiments/distributed/gpus.yaml -c experiments/distributed/slurm.yaml \
  --trainer.num_nodes "$SLURM_JOB_NUM_NODES" --trainer.devices "$SLURM_NTASKS_PER_NODE" \
  --trainer.default_root_dir "runs/slurm/$SLURM_JOB_ID" "$@"
