#!/bin/sh
# The same command on every node; NODES, PROCESSES (of a node) and HEAD (the first node's address:port) say how many.
#   NODES=2 PROCESSES=4 HEAD=node0:29400 sh experiments/distributed/torchrun.sh experiments/phantom/symile.yaml \
#     -c experiments/distributed/gpus.yaml
# Without GPUs: --trainer.accelerator cpu --trainer.strategy ddp in place of gpus.yaml.
set -eu
config=$1
shift
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec torchrun --nnodes "${NODES:-1}" --nproc-per-node "${PROCESSES:-1}" --rdzv-backend c10d \
  --rdzv-id "${RUN:-polyclinic}" --rdzv-endpoint "${HEAD:-localhost:29400}" \
  -m polyclinic.cli fit -c "$config" --trainer.num_nodes "${NODES:-1}" --trainer.devices "${PROCESSES:-1}" "$@"
