#!/usr/bin/env bash
# Runs prl-node on a GPU machine, from a folder that scripts/pack-gpu.mjs made. See docs/gpu.md.
#
#   ./run.sh [--emulated] check | test | sanitize | ipc | bench ...
#
# Each step writes STEP.log (bench also bench.json) and a line of summary.txt into $OUT (./out). A step that fails or
# exceeds its limit does not stop the later ones. Exit code: 0 if every step succeeded.
#
#   --emulated     the test step on the emulator (of an archive packed with --emulated)
#   PYTHON=python3            with torch, for ipc and the peers of bench
#   BENCH_ARGS="--filter x"   more arguments for bench
#   LIMIT=540                 seconds that a step may take
set -u
here=$(cd "$(dirname "$0")" && pwd)
OUT=$(mkdir -p "${OUT:-$here/out}" && cd "${OUT:-$here/out}" && pwd)
cd "$here" || exit 1
export PATH="$here/bin:$PATH"
unset PRL_NATIVE PRL_DEVICE PRL_TEST_DEVICE
PYTHON=${PYTHON:-python3}
LIMIT=${LIMIT:-540}
EMULATED=""
all_well=0

limited() { timeout --kill-after=10 "$1" "${@:2}"; }

check() {
  cat pack.json
  nvidia-smi || echo "nvidia-smi does not work here"
  node lib/cli/main.js doctor
  "$PYTHON" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda, torch.cuda.is_available())'
  # The GPU itself comes last: it decides whether the step succeeds.
  node -e 'import("./lib/index.js").then(async ({ Tensor }) => {
    const read = await Tensor.from([1, 2, 3], [3], { device: "cuda" }).read();
    console.log("a tensor went to the GPU and came back:", [...read].join(" "));
  }).catch((error) => { console.error(error.message); process.exit(1); })'
}

test_step() { limited "$LIMIT" node scripts/test-cuda.mjs $EMULATED --timeout 300; }

# Runs every tool of compute-sanitizer on the kernel tests. Without the cache of device memory: a sanitizer knows
# allocations, not the parts within them.
sanitize() {
  local sanitizer status=0 tool
  sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null) || {
    echo "compute-sanitizer was not found"
    return 1
  }
  export PRL_CUDA_CACHE=off
  for tool in memcheck racecheck initcheck synccheck; do
    echo "== $tool"
    limited $((LIMIT / 4)) node scripts/test-cuda.mjs '^kernels/' --jobs "${JOBS:-8}" --timeout $((LIMIT / 5)) \
      --under "$sanitizer --tool $tool --target-processes all --error-exitcode 99" || status=1
  done
  unset PRL_CUDA_CACHE
  return $status
}

ipc() {
  local status=0 dtype
  for dtype in float32 bfloat16; do
    limited 120 "$PYTHON" examples/pytorch-ipc/train.py --dtype $dtype --server "$here/bin/node examples/pytorch-ipc/server.js" || status=1
  done
  return $status
}

# shellcheck disable=SC2086
bench() { limited "$LIMIT" node lib/cli/main.js bench --device cuda --peers "$PYTHON" --json "$OUT/bench.json" ${BENCH_ARGS:-}; }

step() {
  local name=$1 start=$SECONDS status
  echo "== $name (log: $OUT/$name.log)"
  "$2" > "$OUT/$name.log" 2>&1
  status=$?
  [ $status -eq 124 ] && echo "stopped: it took longer than its limit of $LIMIT s" >> "$OUT/$name.log"
  tail -n "${TAIL:-15}" "$OUT/$name.log"
  echo "$name: $([ $status -eq 0 ] && echo well || echo "FAILED (exit code $status)"), $((SECONDS - start)) s" | tee -a "$OUT/summary.txt"
  [ $status -eq 0 ] || all_well=1
}

[ $# -gt 0 ] || { sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 2; }
for word in "$@"; do
  case $word in
    --emulated) EMULATED=--emulate ;;
    check | sanitize | ipc | bench) step "$word" "$word" ;;
    test) step test test_step ;;
    *) echo "no such step: $word (check, test, sanitize, ipc, bench)"; exit 2 ;;
  esac
done
exit $all_well
