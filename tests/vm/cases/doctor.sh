# `rkt doctor` judges this machine without failing, and names what its kernel lacks and does not.
command -v rkt > /dev/null || { echo "needs the rkt binary: run.sh target/.../rkt"; exit 77; }
verdict=$(rkt doctor)
echo "$verdict" | sed 's/^/note: /'
finds() { # STATE NAME WORDS: one line that says so
    line=$(echo "$verdict" | grep -E "^[a-z]+ +$2  ") || { echo "nothing is said of $2"; exit 1; }
    case $line in "$1 "*"$3"*) ;; *) echo "wanted $1 ... $3, got: $line"; exit 1 ;; esac
}
remedy() { # NAME WORDS: of the line after
    echo "$verdict" | grep -E -A 1 "^degraded +$1  " | grep -q "remedy: .*$2" || { echo "$1: no remedy $2"; exit 1; }
}
case $(uname -r) in
    6.1.*)
        finds degraded kernel "Linux 6.1; 6.12 or later has all that rkt uses"
        finds degraded landlock "ABI 2: files only; signals between apps are held by ids alone"
        remedy landlock "6.12"
        finds degraded "EROFS from files" "layers are mounted by loop devices, or unpacked"
        remedy "EROFS from files" "6.12"
        finds degraded "idmapped tmpfs" ""
        remedy "idmapped tmpfs" "6.3"
        ;;
    6.12.*)
        finds ok kernel ""
        finds ok landlock "ABI 6: files, signals and abstract sockets"
        finds ok "idmapped tmpfs" ""
        ;;
esac
# Neither kernel has these, and rkt has another way.
finds ok "proc of another pid namespace" "pidns= needs 6.17"
finds ok "overlay on idmapped layers" "detached needs 6.15"
for there in "user namespaces" namespaces seccomp "cgroup at birth" "cgroup memory" "cgroup pids" \
    "cgroup cpu" "cgroup kill" "idmapped mounts" nf_tables; do finds ok "$there" ""; done
# Told for programs, with the same words, and nothing needed is missing.
rkt doctor --format=json > /tmp/doctor.json
grep -q landlock /tmp/doctor.json
if echo "$verdict" | grep -q ^missing; then exit 1; fi
