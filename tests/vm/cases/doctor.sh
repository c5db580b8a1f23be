# `rkt doctor` judges this machine without failing, and sees the unified tree.
command -v rkt > /dev/null || { echo "needs the rkt binary: run.sh target/.../rkt"; exit 77; }
rkt doctor
