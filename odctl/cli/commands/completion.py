"""`completion`, and what its scripts call. None of it imports the protocol's packages: a TAB has to be instant."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

import typer

from odctl.cli import snapshots
from odctl.cli.app import invocation, lookup_in
from odctl.cli.context import Invocation
from odctl.cli.suggest import SHELLS, Line, read_line, suggest
from odctl.client.errors import OdctlError, UsageError
from odctl.config import home
from odctl.text import clean

if TYPE_CHECKING:
    pass

CONTEXT = {"complete": {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}}

BASH = """\
# odctl completion for bash: eval "$(odctl completion bash)"
_odctl() {
  local rest=${COMP_LINE:0:COMP_POINT} words=() word part last cut quoted i
  # readline takes words apart at colons, equals signs and the like: put together again what no blank is between
  for ((i = 0; i <= COMP_CWORD; i++)); do
    part=${COMP_WORDS[i]}
    word=${rest#"${rest%%[![:space:]]*}"}
    if [[ $i == 0 || $word != "$rest" || -z $part ]]; then words+=(""); fi
    ((i == COMP_CWORD)) && part=$word
    words[${#words[@]}-1]+=$part
    rest=${word#"$part"}
  done
  last=${words[${#words[@]}-1]}
  [[ $last == [\\"\\']* ]] && quoted=1
  for i in "${!words[@]}"; do words[i]=${words[i]//[\\"\\'\\\\]/}; done
  last=${words[${#words[@]}-1]}
  # and replaces only what stands behind the last of them, unless it is quoted
  cut=
  [[ $quoted ]] || cut=${last%"${last##*[:=]}"}
  COMPREPLY=()
  while IFS=$'\\t' read -r word _; do
    if [[ $word == :files ]]; then
      compopt -o filenames
      while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "${last#"$cut"}")
    else
      [[ $word == *= ]] && compopt -o nospace
      word=${word#"$cut"}
      [[ $quoted || -z $word ]] || printf -v word %q "$word"
      COMPREPLY+=("$word")
    fi
  done < <(odctl __complete "${words[@]:1}" 2>/dev/null)
}
complete -o nosort -F _odctl odctl 2>/dev/null || complete -F _odctl odctl
"""
ZSH = """\
#compdef odctl
# odctl completion for zsh: eval "$(odctl completion zsh)"
_odctl() {
  local -a found instead
  local line word text files last=${(Q)words[CURRENT]}
  while IFS= read -r line; do
    word=${line%%$'\\t'*}; text=${line#*$'\\t'}
    if [[ $word == :files ]]; then
      files=1
    else
      # a name, which stands for a number, is replaced by it
      [[ $word == ${(b)last}* ]] || instead=(-U)
      found+=("${word//:/\\\\:}${text:+:$text}")
    fi
  done < <(odctl __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)
  if [[ -n $files ]]; then
    _files
  elif (( ${#found} )); then
    [[ ${#found} == 1 && $word == *= ]] && instead+=(-S '')
    _describe -V 'odctl' found "${(@)instead}"
  fi
}
# from a folder of fpath this file is the function itself, when it is first called
if [[ ${funcstack[1]} == _odctl ]]; then _odctl "$@"; else compdef _odctl odctl; fi
"""
FISH = """\
# odctl completion for fish: odctl completion fish | source
function __odctl_complete
    # as it will be read: without backslashes, and quotes that may still be open
    set -l token (commandline -ct)
    set -l last (string unescape -- "$token" 2>/dev/null)
    or set last (string trim --left --chars='"\\'' -- "$token")
    set -l words (commandline -opc) "$last"
    for line in (odctl __complete $words[2..-1] 2>/dev/null)
        if string match -q ':files*' -- $line
            __fish_complete_path "$last"
        else
            echo $line
        end
    end
end
complete -c odctl -f -k -a '(__odctl_complete)'
"""
SCRIPTS = dict(zip(SHELLS, (BASH, ZSH, FISH), strict=True))


def completion(
    ctx: typer.Context,
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish; with --install yours.")] = "",
    install: Annotated[
        bool, typer.Option("--install", help="Write it where the shell looks for such scripts.")
    ] = False,
) -> None:
    """Print a completion script, or install it.

    bash, zsh: eval "$(odctl completion bash)"    fish: odctl completion fish | source
    """
    run = invocation(ctx)
    if install and not shell:
        shell = PurePath(os.environ.get("SHELL", "")).name
    script = SCRIPTS.get(shell)
    if script is None:
        hint = "bash, zsh or fish"
        raise UsageError(f"'{clean(shell)}' is not a shell this knows" if shell else "name a shell", hint=hint)
    if install:
        _install(run, shell, script)
    elif run.output.is_json:
        run.output.value({"shell": shell, "script": script})
    else:
        run.output.out.write(script)


def _install(run: Invocation, shell: str, script: str) -> None:
    """Replaces what an earlier install wrote."""
    path = script_file(shell)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(script)
    temporary.replace(path)
    if run.output.is_json:
        run.output.value({"shell": shell, "path": str(path)})
        return
    run.output.line(clean(path))
    if shell == "zsh":
        line = f"fpath=({clean(path.parent)} $fpath)"
        run.output.note(f"if zsh does not look there yet: {line} in ~/.zshrc, before compinit")
    else:
        where = ", where bash-completion is installed" if shell == "bash" else ""
        run.output.note(f"new shells complete odctl{where}")


def script_file(shell: str, environ: Mapping[str, str] | None = None) -> Path:
    """Where the shell looks for completions of this user's, by the documentation of bash-completion, of fish and, for
    zsh, by custom: it has no such place of its own."""
    environ = os.environ if environ is None else environ
    own = home(environ)
    data = Path(environ.get("XDG_DATA_HOME") or own / ".local" / "share")
    if shell == "fish":
        return Path(environ.get("XDG_CONFIG_HOME") or own / ".config") / "fish" / "completions" / "odctl.fish"
    if shell == "zsh":
        return data / "zsh" / "site-functions" / "_odctl"
    return Path(environ.get("BASH_COMPLETION_USER_DIR") or data / "bash-completion") / "completions" / "odctl"


def complete(ctx: typer.Context) -> None:
    """Words that fit the last argument, one a line, with a tab and a hint; `:files` where files of this machine do."""
    root = ctx.find_root().command
    *before, last = list(ctx.args) or [""]
    line = read_line(before, lookup_in(root))
    for word, text in suggest(root, line, last, _recall(line)):
        if word == clean(word):  # what could steer the terminal has no place on the command line
            sys.stdout.write(f"{word}\t{clean(text)}\n")


def _recall(line: Line) -> Callable[[str, str], snapshots.Words]:
    def recall(kind: str, about: str) -> snapshots.Words:
        if kind != "contexts":
            return snapshots.recall(kind, about, line.host, line.context)
        from odctl.client import contexts

        try:
            known = contexts.load()
        except OdctlError:
            return []
        return [*((name, known.endpoint(name)) for name in known.known), (contexts.AUTO, "the sockets of this machine")]

    return recall
