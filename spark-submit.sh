#!/usr/bin/env bash
# Submit a job to Spark: ./spark-submit.sh [spark-submit options] VERB [job options]
#
# The only place with cluster settings. Each default below can be overridden by its environment variable, by a
# --properties-file, and on the command line, which wins over both. Examples:
#
#   ./spark-submit.sh score --input reviews --output scores                                   # this machine
#   ./spark-submit.sh --master spark://host:7077 --executor-memory 8g score ...               # standalone
#   ./spark-submit.sh --master yarn --deploy-mode cluster score --status-file hdfs:/status/tonight.json ...
#   ./spark-submit.sh --master k8s://https://host --conf spark.kubernetes.container.image=... score ...
#   SENTIMENT_GPUS=1 SENTIMENT_GPU_DISCOVERY=/opt/find-gpus.sh ./spark-submit.sh --master spark://host:7077 \
#       score --device gpu ...                                                                # one GPU a task
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONSAFEPATH=1 # else Python would take a folder named jobs, where this is called, for the project

: "${SENTIMENT_MASTER:=local[*]}"             # where to run
: "${SENTIMENT_DRIVER_MEMORY:=2g}"            # the driver holds the model and counts, never rows
: "${SENTIMENT_EXECUTOR_MEMORY:=4g}"          # the JVM's part; shuffle and Parquet
: "${SENTIMENT_WORKER_OVERHEAD:=2g}"          # outside the JVM: the Python workers with the model, 500 MB each
: "${SENTIMENT_EXECUTOR_CORES:=}"             # default: the cluster's
: "${SENTIMENT_TASK_CPUS:=1}"                 # threads of one worker
: "${SENTIMENT_GPUS:=0}"                      # GPUs of each executor
: "${SENTIMENT_GPUS_PER_TASK:=1}"             # may be a fraction: tasks then share a GPU
: "${SENTIMENT_GPU_DISCOVERY:=}"              # script that prints the executor's GPU addresses as Spark wants them
: "${SENTIMENT_LOG_LEVEL:=WARN}"              # of Spark; DEBUG also shows whole errors, which may quote reviews
: "${SENTIMENT_ENVIRONMENT=$here/dist/environment.tar.gz}" # what executors unpack (`make package`); empty: nothing
: "${SENTIMENT_IMAGE_HOME:=/opt/sentiment}"   # where a Kubernetes image has that environment

fail() { echo "spark-submit.sh: failed: $1" >&2; exit "$2"; }

# Spark's options end where the verb begins; only these of them take no value.
submit=()
while (($#)); do
  case $1 in
    --help | -h) sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --verbose | -v | --version | --supervise | --load-spark-defaults | --*=*) submit+=("$1"); shift ;;
    -*) (($# > 1)) || fail "the option $1 needs a value" 2
        submit+=("$1" "$2"); shift 2 ;;
    *) break ;;
  esac
done
(($#)) || fail "name a verb; \`sentiment --help\` lists them" 2

# Java names files by the locale; without one, a name with another letter than a to z would be no file.
case ${LC_ALL:-${LC_CTYPE:-${LANG:-}}} in "" | C | POSIX) export LC_ALL=C.UTF-8 ;; esac
if [ -n "${PYSPARK_DRIVER_PYTHON:-}" ]; then
  python=$(command -v "$PYSPARK_DRIVER_PYTHON") \
    || fail "PYSPARK_DRIVER_PYTHON is wrong: there is no program $PYSPARK_DRIVER_PYTHON; unset it" 6
  fault="PYSPARK_DRIVER_PYTHON is wrong: $python is no Python with pyspark and this project; unset it"
else
  python=$here/.venv/bin/python
  [ -x "$python" ] || python=$(command -v python3) || fail "no Python; run \`make setup\`" 6
  fault="$python has no pyspark or project; run \`make setup\`"
fi
found=$("$python" -m jobs.spark.java --show 2>/dev/null) || fail "$fault" 6
{ read -r spark_home; read -r jobs; read -r java_options; } <<<"$found"
{ [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; } || command -v java >/dev/null \
  || fail "no Java; install version 17 or newer or set JAVA_HOME" 6

properties=() # NAME=VALUE of each setting in the --properties-file
property() { # the value of one of them, if it is there
  local line
  for line in ${properties[@]+"${properties[@]}"}; do
    case $line in "$1"=*) echo "${line#*=}"; return ;; esac
  done
  return 1
}
given() { # the value of one of Spark's options, or else of its setting; the last one if there are several
  local value="" setting i
  setting=$(property "$2") || true
  for ((i = 0; i < ${#submit[@]}; i++)); do
    case ${submit[i]} in
      "$1") value=${submit[i + 1]:-} ;;
      "$1"=*) value=${submit[i]#*=} ;;
      --conf | -c) case ${submit[i + 1]:-} in "$2"=*) setting=${submit[i + 1]#*=} ;; esac ;;
      --conf="$2"=*) setting=${submit[i]#*=*=} ;;
    esac
  done
  echo "${value:-$setting}"
}
file=$(given --properties-file -)
if [ -n "$file" ]; then
  [ -f "$file" ] && [ -r "$file" ] || fail "the file $file cannot be read" 2
  # By a pipe, since bash may put other input into a file, and there may be a secret in it.
  while IFS= read -r line; do properties+=("$line"); done < <("$python" -m jobs.spark.submit "$file")
fi
master=$(given --master spark.master)
deploy_mode=$(given --deploy-mode spark.submit.deployMode)
archives=$(given --archives spark.archives)
executor_python=$(given - spark.pyspark.python)
: "${executor_python:=${PYSPARK_PYTHON:-}}"

# What executors run: the driver's Python where they share its files, that of the image on Kubernetes, else that of the
# shipped environment. A driver in the cluster has what executors have.
ship=() home= environment=
case ${master:=$SENTIMENT_MASTER} in
  local*) ;;
  k8s*) home=$SENTIMENT_IMAGE_HOME ;;
  *)
    if [ -n "$archives" ]; then
      case $archives, in *"#environment,"*)
        home=./environment
        environment=$archives,
        environment=${environment%%"#environment,"*} # and what comes before it
        environment=${environment##*,}
        environment=${environment#file:} ;;
      esac
    elif [ -z "$executor_python" ] && [ -f "${SENTIMENT_ENVIRONMENT:-}" ]; then
      environment=$SENTIMENT_ENVIRONMENT
      ship=(--archives "$environment#environment")
      home=./environment
    fi
    if [ -f "$environment" ]; then
      project=$(dirname "$jobs")
      made_of=("$project"/{jobs,sentiment_core})
      [ ! -f "$project/requirements.lock" ] || made_of+=("$project/requirements.lock")
      stale=$(find "${made_of[@]}" -name __pycache__ -prune -o -type f -newer "$environment" -print -quit)
      [ -z "$stale" ] || fail "$environment is older than $stale; run \`make package\`" 6
      packed=$(tar -tzf "$environment" 2>/dev/null | sed -n '/^bin\/python3\.[0-9]*$/{s/^bin.//p;q;}') || true # not read on
      own=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
      [ "$deploy_mode" = cluster ] || [ -z "$packed" ] || [ "$packed" = "$own" ] \
        || fail "$environment holds $packed, and the driver would run $own, which Spark refuses; run \`make package\`" 6
    fi ;;
esac
: "${executor_python:=${home:+$home/bin/python}}"
: "${executor_python:=$python}"
driver_python=$python
log_settings=$jobs/spark/log4j2.properties executor_log_settings=$jobs/spark/log4j2.properties
[ -z "$home" ] || executor_log_settings=$home/lib/python/site-packages/jobs/spark/log4j2.properties
program=$jobs/cli.py
if [ "$deploy_mode" = cluster ]; then
  driver_python=$executor_python
  log_settings=$executor_log_settings
  case $master in k8s*) program=local://$home/lib/python/site-packages/jobs/cli.py ;; esac
fi

conf() { property "$1" >/dev/null || settings+=(--conf "$1=$2"); } # or it would win over the file
settings=(${ship[@]+"${ship[@]}"})
# As settings, since Spark takes its options for more than settings, and these must give way to both.
conf spark.app.name "sentiment $1"
conf spark.master "$SENTIMENT_MASTER"
conf spark.driver.memory "$SENTIMENT_DRIVER_MEMORY"
conf spark.executor.memory "$SENTIMENT_EXECUTOR_MEMORY"
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
conf spark.pyspark.driver.python "$driver_python"
conf spark.ui.showConsoleProgress false
conf spark.log.level "$SENTIMENT_LOG_LEVEL"
log_level=-Dsentiment.log.level=$SENTIMENT_LOG_LEVEL
case $master in
  local*) # as without this script: nobody looks at pages of a driver that ends in seconds
    conf spark.ui.enabled false
    conf spark.sql.ui.explainMode simple ;;
  *) java_options= ;; # of this machine
esac
conf spark.driver.defaultJavaOptions "-Dlog4j2.configurationFile=$log_settings $log_level${java_options:+ $java_options}"
case $master,$home,$executor_python in
  k8s*,* | yarn,?*,* | *,,"$python")
    conf spark.executor.defaultJavaOptions "-Dlog4j2.configurationFile=$executor_log_settings $log_level" ;;
  *) # a standalone worker unpacks the environment after Java started; of ERROR alone Spark would make INFO
    conf spark.executor.defaultJavaOptions "-Dlog4j2.level=${SENTIMENT_LOG_LEVEL/#ERROR/WARN}" ;;
esac

unset PYSPARK_DRIVER_PYTHON PYSPARK_PYTHON # the settings above say it; the variables would win
export SPARK_HOME=$spark_home
settings+=(${submit[@]+"${submit[@]}"})
if [ "$deploy_mode" = cluster ]; then
  # The driver's standard error and exit code stay in the cluster, and spark-submit may end with 0 though it failed: the
  # verdict is what the driver wrote into its status file.
  conf spark.yarn.appMasterEnv.LC_ALL C.UTF-8
  conf spark.kubernetes.driverEnv.LC_ALL C.UTF-8
  conf spark.yarn.appMasterEnv.SENTIMENT_LOG_FORMAT json
  conf spark.kubernetes.driverEnv.SENTIMENT_LOG_FORMAT json
  "$python" -c 'import sys; from jobs.cli import VERBS; sys.exit(sys.argv[1] not in VERBS)' "$1" \
    || fail "unknown verb '$1'; \`sentiment --help\` lists them" 2
  status_file=${SENTIMENT_STATUS_FILE:-}
  verb_options=("$@")
  for ((i = 0; i < $#; i++)); do
    case ${verb_options[i]} in
      --status-file) status_file=${verb_options[i + 1]:-} ;;
      --status-file=*) status_file=${verb_options[i]#*=} ;;
    esac
  done
  case $status_file in
    *:/*) ;;
    *) fail "with --deploy-mode cluster, name a --status-file URI that this machine can read, too: without it nobody \
could tell whether the job succeeded" 2 ;;
  esac
  hadoop() { "$spark_home/bin/spark-class" org.apache.hadoop.fs.FsShell "$@" 2>/dev/null; }
  hadoop -rm -f "$status_file" >/dev/null || fail "the old status file $status_file cannot be removed" 6
  "$spark_home/bin/spark-submit" "${settings[@]}" "$program" "$@" --status-file "$status_file" >&2 || true
  verdict=$(hadoop -cat "$status_file") || true
  exec "$python" -m jobs.status_file "$1" <<<"$verdict"
fi
# spark-submit would pour the driver's standard error into its standard output, where schedulers read the result.
# So the driver starts first, and starts Spark with the same options when the verb needs it.
PYSPARK_SUBMIT_ARGS="$("$python" -c 'import shlex, sys; print(shlex.join(sys.argv[1:]))' "${settings[@]}") pyspark-shell"
export PYSPARK_SUBMIT_ARGS
export PYSPARK_PYTHON=$executor_python # without spark-submit's own runner, PySpark reads only the variable
exec "$python" -m jobs.cli "$@"
