# shellcheck shell=bash
# Sourced by the scripts in launch/ (after `set -o pipefail`): stages with their time, and long commands whose output goes to a log.

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

# watched LABEL LOG COMMAND…: runs COMMAND with its output in LOG; shows that it lives, its time at the end, and the log's end if it fails.
watched() {
  local label=$1 log=$2 begin=$SECONDS status=0
  shift 2
  mkdir -p "$(dirname "$log")"
  if [ -n "${DORMER_VERBOSE:-}" ]; then say "$label"; "$@" || status=$?; return "$status"; fi
  [ -t 1 ] || say "$label …"
  "$@" 2>&1 < /dev/null | follow_output "$label" "$log" || status=${PIPESTATUS[0]}
  [ ! -t 1 ] || printf '\r\033[K'
  if [ "$status" -ne 0 ]; then
    say "$label: failed after $((SECONDS - begin)) s. The end of $log:"
    tail -n 30 "$log" | sed 's/^/    /'
    return "$status"
  fi
  say "$label: done in $((SECONDS - begin)) s"
}

# Copies standard input to a log and shows its newest line: at once on a terminal, every 20 seconds elsewhere.
follow_output() {
  local label=$1 log=$2 begin=$SECONDS shown=$SECONDS line='' part='' newest='' status
  : > "$log"
  while true; do
    status=0
    IFS= read -r -t 1 line || status=$?  # above 128: nothing more within a second, and `line` holds what came of it
    part+=$line
    if [ "$status" -le 128 ]; then
      printf '%s' "$part" >> "$log"
      [ "$status" -eq 0 ] || break
      printf '\n' >> "$log"
      part=${part##*$'\r'}
      newest=${part:-$newest}
      part=''
    fi
    if [ -t 1 ]; then
      [ "$SECONDS" -eq "$shown" ] || { printf '\r%s %s s: %.80s\033[K' "$label" "$((SECONDS - begin))" "$newest"; shown=$SECONDS; }
    elif [ "$((SECONDS - shown))" -ge 20 ]; then
      say "  $((SECONDS - begin)) s: ${newest:0:110}"
      shown=$SECONDS
    fi
  done
}
