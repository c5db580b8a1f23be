# `rkt doctor` judges this machine without failing; its verdict is shown.
command -v rkt > /dev/null || { echo "needs the rkt binary: run.sh target/.../rkt"; exit 77; }
verdict=$(rkt doctor)
echo "$verdict" | sed 's/^/note: /'
