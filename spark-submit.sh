#!/usr/bin/env bash
# Submit a job to Spark: ./spark-submit.sh [spark-submit options] VERB [job options]
#
# The only place with cluster settings. Each default below can be overridden on the command line (what is given there
# comes later and wins), or by its environment variable. Examples:
#
#   ./spark-submit.sh score --input reviews --output scores                                   # this machine
#   ./spark-submit.sh --master spark://host:7077 --executor-memory 8g score ...               # standalone
#   ./spark-submit.sh --master yarn --archives env.tar.gz#environment score ...               # YARN
#   ./spark-submit.sh --master k8s://https://host --conf spark.kubernetes.container.image=... score ...
#   SENTIMENT_GPUS=1 SENTIMENT_GPU_DISCOVERY=/opt/find-gpus.sh ./spark-submit.sh --master spark://host:7077 \
#       score --device gpu ...                                                                # one GPU a task
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

: "${SENTIMENT_MASTER:=local[*]}"             # where to run
: "${SENTIMENT_DRIVER_MEMORY:=2g}"            # the driver holds the model and counts, never rows
: "${SENTIMENT_EXECUTOR_MEMORY:=4g}"          # the JVM's part; shuffle and Parquet
: "${SENTIMENT_WORKER_OVERHEAD:=2g}"          # outside the JVM: the Python workers with the model, 500 MB each
: "${SENTIMENT_EXECUTOR_CORES:=}"             # default: the cluster's
: "${SENTIMENT_TASK_CPUS:=1}"                 # threads of one worker
: "${SENTIMENT_GPUS:=0}"                      # GPUs of each executor
: "${SENTIMENT_GPUS_PER_TASK:=1}"             # may be a fraction: tasks then share a GPU
: "${SENTIMENT_GPU_DISCOVERY:=}"              # script that prints the executor's GPU addresses as Spark wants them
: "${SENTIMENT_LOG_LEVEL:=WARN}"              # of Spark; the job's own progress is always shown

fail() { echo "spark-submit.sh: failed: $1" >&2; exit "$2"; }

# Spark's options end where the verb begins; only these of them take no value.
submit=()
while (($#)); do
  case $1 in
    pretrain | train | evaluate | score | backfill | summarize | predict | doctor) break ;;
    --help | -h) sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --verbose | -v | --version | --supervise | --*=*) submit+=("$1"); shift ;;
    -*) (($# > 1)) || fail "the option $1 needs a value" 2
        submit+=("$1" "$2"); shift 2 ;;
    *) fail "unknown verb '$1'; use pretrain, train, evaluate, score, backfill, summarize, predict or doctor" 2 ;;
  esac
done
(($#)) || fail "name a verb: score, backfill, summarize, train, evaluate, predict, pretrain or doctor" 2

python=${PYSPARK_DRIVER_PYTHON:-$here/.venv/bin/python}
[ -x "$python" ] || python=$(command -v python3.11) || fail "no Python 3.11; run \`make setup\`" 6
"$python" -c 'import pyspark, jobs' 2>/dev/null || fail "$python has no pyspark or project; run \`make setup\`" 6
spark_home=$("$python" -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')
jobs=$("$python" -c 'import os, jobs; print(os.path.dirname(jobs.__file__))')
{ [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; } || command -v java >/dev/null \
  || fail "no Java; install version 17 or newer or set JAVA_HOME" 6

# Executors take the driver's Python where they share its file system, or the one of a shipped archive.
executor_python=${PYSPARK_PYTHON:-$python}
case " ${submit[*]:-} " in *"#environment"*) executor_python=./environment/bin/python ;; esac

conf() { settings+=(--conf "$1=$2"); }
settings=(--name "sentiment $1" --master "$SENTIMENT_MASTER")
settings+=(--driver-memory "$SENTIMENT_DRIVER_MEMORY" --executor-memory "$SENTIMENT_EXECUTOR_MEMORY")
conf spark.executor.memoryOverhead "$SENTIMENT_WORKER_OVERHEAD"
[ -z "$SENTIMENT_EXECUTOR_CORES" ] || conf spark.executor.cores "$SENTIMENT_EXECUTOR_CORES"
conf spark.task.cpus "$SENTIMENT_TASK_CPUS"
if [ "$SENTIMENT_GPUS" != 0 ]; then
  conf spark.executor.resource.gpu.amount "$SENTIMENT_GPUS"
  conf spark.task.resource.gpu.amount "$SENTIMENT_GPUS_PER_TASK"
  [ -z "$SENTIMENT_GPU_DISCOVERY" ] || conf spark.executor.resource.gpu.discoveryScript "$SENTIMENT_GPU_DISCOVERY"
fi
# A worker keeps its model from task to task; one that hangs says where and is killed.
conf spark.python.worker.reuse true
conf spark.python.worker.faulthandler.enabled true
conf spark.sql.execution.pyspark.udf.idleTimeoutSeconds 900
conf spark.sql.execution.pyspark.udf.killOnIdleTimeout true
conf spark.network.timeout 300s
# Retry what a lost executor lost; never run a task twice at a time.
conf spark.task.maxFailures 4
conf spark.speculation false
conf spark.pyspark.python "$executor_python"
conf spark.pyspark.driver.python "$python"
conf spark.ui.showConsoleProgress false
conf spark.log.level "$SENTIMENT_LOG_LEVEL"
log=-Dlog4j2.configurationFile="file:$jobs/log4j2.properties"
conf spark.driver.defaultJavaOptions "$log -Dsentiment.log.level=$SENTIMENT_LOG_LEVEL"

unset PYSPARK_DRIVER_PYTHON PYSPARK_PYTHON # the settings above say it; the variables would win
export SPARK_HOME=$spark_home
settings+=(${submit[@]+"${submit[@]}"})
case " ${submit[*]:-} " in
  *deploy-mode[\ =]cluster*)
    exec "$spark_home/bin/spark-submit" "${settings[@]}" "$jobs/cli.py" "$@" ;;
esac
# spark-submit would pour the driver's standard error into its standard output, where schedulers read the result.
# So the driver starts first, and starts Spark with the same options when the verb needs it.
PYSPARK_SUBMIT_ARGS="$("$python" -c 'import shlex, sys; print(shlex.join(sys.argv[1:]))' "${settings[@]}") pyspark-shell"
export PYSPARK_SUBMIT_ARGS
export PYSPARK_PYTHON=$executor_python # without spark-submit's own runner, PySpark reads only the variable
exec "$python" -m jobs.cli "$@"
