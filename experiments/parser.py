"""Commands and their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments import waves
from experiments.store import DEFAULT_PATH

Command = Callable[[argparse.Namespace], Any]


def build(run: Mapping[str, Command], version: type[argparse.Action]) -> argparse.ArgumentParser:
    """Return the parser of every command; `run` says by its name what each one does."""
    parser = argparse.ArgumentParser(prog="amper", description="Replay by associative search: learn, simulate, report.")
    parser.add_argument("--version", action=version, nargs=0, help="print the version and exit")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, parents=[shared])
        sub.set_defaults(run=run[name])
        return sub

    sub = command("report", "record a real agent's replay, simulate every machine on it, write a report")
    sub.add_argument("--out", type=Path, default=Path("amper-report"), help="folder (default: %(default)s)")
    sub.add_argument("--quick", action="store_true", help="a run of 5,000 steps, and n = 5,000 only")
    sub.add_argument("--env", default="CartPole-v1", help="Gymnasium id (default: %(default)s)")
    sub.add_argument("--seed", type=int, default=0)

    sub = command("latency", "simulate machines on synthetic traces")
    sub.add_argument("--n", type=int, nargs="+", help="transitions in the buffer")
    sub.add_argument("--batch", type=int, help="draws of one sampling")
    sub.add_argument("--machine", nargs="+", metavar="NAME[:key=value,...]", help="machines to compare, or .toml files")
    sub.add_argument("--csp", type=float, dest="csp_fraction", help="candidate set, as a fraction of n (default: 0.15)")
    sub.add_argument("--fidelity", choices=("array", "burst", "closed"), help="events, slow or fast, or formula")
    sub.add_argument("--seed", type=int)

    waves.add_arguments(command("waves", "write who was busy when on one machine, for waveform viewers"))

    sub = command("train", "train one agent")
    _add_training(sub)
    sub.add_argument("--replay", default="amper-fr", help="sampler (default: %(default)s)")
    sub.add_argument("--seed", type=int, default=0)

    sub = command("compare", "train an agent on several replay backends, side by side")
    _add_training(sub, default_steps=60_000)
    sub.add_argument("--replay", nargs="+", default=["uniform", "per", "amper-k", "amper-fr"])
    sub.add_argument("--seeds", type=int, default=5, help="runs a backend (default: %(default)s)")
    sub.add_argument("--seed", type=int, default=0, help="the first of them (default: %(default)s)")
    _add_running(sub)

    sub = command("run", "run a named study")
    sub.add_argument("study", metavar="STUDY", help="a name that `amper list` prints")
    sub.add_argument("--setting", default="default", help="tiny, default or full (default: %(default)s)")
    sub.add_argument(
        "--set", action="append", default=[], metavar="key=value", help="change a parameter; again for more values"
    )
    sub.add_argument("--figure", type=Path, metavar="PNG", help="draw the study's figure")
    _add_running(sub)

    command("list", "list the studies, samplers, agents, machines and technologies")
    sub = command("results", "print what the store keeps")
    sub.add_argument("study", nargs="?", metavar="STUDY")
    sub.add_argument("--store", type=Path, default=DEFAULT_PATH)

    sub = command("tech", "list technologies, or print one's numbers with their sources")
    sub.add_argument("name", nargs="?", metavar="NAME", help="a preset, or the path of a TOML file")
    sub.add_argument("--node", type=float, metavar="NM", help="scaled to this process, by the law the file names")

    _add_measuring(command)
    return parser


def _add_measuring(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Add what holds the simulator against the world."""
    sub = command("validate", "hold the simulator against points it did not make: signed errors, and their scope")
    sub.add_argument(
        "--measurement", default="h100", metavar="FILE", help="of a GPU: a name or a file (default: %(default)s)"
    )
    sub = command("calibrate-cpu", "time this machine's own sum tree, for the machine sumtree-cpu")
    _add_calibrating(sub, "cpu.toml", "1e3, 1e4, ... 1e7", "1 16 32 64 128 256 512", "a tenth of the ops, two sizes")
    sub = command("calibrate-gpu", "time sum trees on a CUDA GPU, for the machine sumtree-gpu")
    _add_calibrating(sub, "gpu.json", "5e3, 2e4, 1e5, 1e6, 1e7", "1 32 64 256 1024", "a quarter of the ops, two sizes")


def _add_training(sub: argparse.ArgumentParser, default_steps: int = 50_000) -> None:
    sub.add_argument("--env", default="CartPole-v1", help="Gymnasium id (default: %(default)s)")
    sub.add_argument("--agent", default="dqn")
    sub.add_argument("--steps", type=int, default=default_steps, help="environment steps (default: %(default)s)")
    sub.add_argument("--capacity", type=int, default=50_000, help="transitions held (default: %(default)s)")


def _add_running(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    sub.add_argument("--store", type=Path, default=DEFAULT_PATH, help="SQLite file (default: %(default)s)")
    sub.add_argument("--fresh", action="store_true", help="compute rows again that the store has")


def _add_calibrating(sub: argparse.ArgumentParser, out: str, sizes: str, batches: str, quick: str) -> None:
    sub.add_argument("--n", type=int, nargs="+", help=f"transitions in the buffer (default: {sizes})")
    sub.add_argument("--batch", type=int, nargs="+", help=f"rows of one op (default: {batches})")
    sub.add_argument("--out", type=Path, default=Path(out), help="file to write (default: %(default)s)")
    sub.add_argument("--quick", action="store_true", help=quick)
