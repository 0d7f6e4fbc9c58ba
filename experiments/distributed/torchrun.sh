#!/bin/sh
# Run the same command on every node. NODES is the number of nodes, PROCESSES that of processes per node, and HEAD the
# address:port of the first node.
#   NODES=2 PROCESSES=4 HEAD=node0:29400 sh experiments/distributed/torchrun.sh demo/symile.yaml \
#     -c experiments/distributed/gpus.yaml
# Without GPUs, use --trainer.accelerator cpu --trainer.strategy ddp in place of gpus.yaml.
set -eu
config=$1
shift
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec torchrun --nnodes "${NODES:-1}" --nproc-per-node "${PROCESSES:-1}" --rdzv-backend c10d \
  --rdzv-id "${RUN:-polyclinic}" --rdzv-endpoint "${HEAD:-localhost:29400}" \
  -m polyclinic.cli fit -c "$config" --trainer.num_nodes "${NODES:-1}" --trainer.devices "${PROCESSES:-1}" "$@"
