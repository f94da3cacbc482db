#!/bin/sh
# compile_cached.sh CCACHE COMPILER ARGUMENTS…
# ccache would see through a precompiled header that is made anew to the old one, and so remember it for this folder alone.
previous=
for argument; do
  case $previous$argument in
    -o*.gch) rm -f "$argument" ;;
  esac
  previous=$argument
done
exec "$@"
