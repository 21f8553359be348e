#!/bin/sh
# Stands between the node agent and a trainer, as the leader of a session of its own, so that the
# trainer outlives the agent and still tells how it ended.
#   shim.sh RUN_FOLDER COMMAND...
# RUN_FOLDER/started  made first, as a lock: a second shim for the same attempt ends with 97
# RUN_FOLDER/pids     "<shim> <trainer>", RUN_FOLDER/exit_code  both written by rename
# stdout and stderr are the console already.
umask 022
run=$1
shift
mkdir "$run/started" 2>/dev/null || exit 97
# room for the exit code, which a full disk would otherwise take away with the training
printf '\n\n\n\n\n\n\n\n' >"$run/exit_code.new"

child=
term=
trap 'term=1; [ -n "$child" ] && kill -TERM "$child" 2>/dev/null' TERM
trap '[ -n "$child" ] && kill -USR1 "$child" 2>/dev/null' USR1
trap '' HUP INT

"$@" </dev/null &
child=$!
echo "$$ $child" >"$run/pids.new" && mv "$run/pids.new" "$run/pids"
[ -n "$term" ] && kill -TERM "$child" 2>/dev/null

# A trapped signal ends `wait` early; the child is then still there (or waits to be waited for).
code=0
while :; do
  wait "$child"
  code=$?
  kill -0 "$child" 2>/dev/null || break
done
echo "$code" 1<>"$run/exit_code.new" && mv "$run/exit_code.new" "$run/exit_code"
exit "$code"
