"""The command line, `amper`: the only module that prints.

Nothing heavy is imported before a command runs, so that `amper --help` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import parser, waves

if TYPE_CHECKING:
    from experiments.store import Store
    from experiments.study import Answer, Cell, Study

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage."""
    options = build_parser().parse_args(arguments)
    try:
        with _terminated_as_interrupted():
            document = options.run(options)
            if options.json:
                print(json.dumps(document, indent=1))
            sys.stdout.flush()
    except (ValueError, TypeError) as error:
        return _fail(f"amper {options.command}: {error}", USAGE)
    except BrokenPipeError:
        # Whoever read our output has gone; what is left in the buffer must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (FloatingPointError, OSError, sqlite3.Error) as error:
        return _fail(f"amper {options.command}: {error}", FAILED)
    except KeyboardInterrupt:
        kept = "; every finished row is kept" if hasattr(options, "store") else ""
        return _fail(f"amper {options.command}: interrupted{kept}", INTERRUPTED)
    except Exception as error:
        if not type(error).__module__.startswith("gymnasium"):
            raise
        return _fail(f"amper {options.command}: {error}; an extra may be missing: pip install '.[box2d]'", FAILED)
    return DONE


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Answer SIGTERM as Ctrl-C: workers are ended, and finished rows kept."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    return parser.build(
        {
            "report": _report, "latency": _latency, "waves": _waves, "train": _train, "compare": _compare,
            "run": _run, "list": _list, "results": _results, "tech": _tech, "validate": _validate,
            "calibrate-cpu": _calibrate, "calibrate-gpu": _calibrate,
        },
        _Version,
    )  # fmt: skip


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import amper

        print(f"amper {amper.__version__}")
        parser.exit(DONE)


# -- commands -------------------------------------------------------------------------------------------
def _report(options: argparse.Namespace) -> Any:
    import amper
    from experiments import report, study

    speedups = study.get("speedup-report")
    changes = {"seed": options.seed, "env": options.env}
    cell = speedups.cells(speedups.parameters("tiny" if options.quick else "default", changes))[0]
    report.make_folder(options.out)  # before the work, not after it
    with _progress() as stage:
        result = speedups.run(cell.parameters, cell.seed, stage)
    flags = [*(["--quick"] if options.quick else []), *([f"--seed {options.seed}"] if options.seed else [])]
    flags += [f"--env {options.env}"] if options.env != "CartPole-v1" else []
    command = " ".join(["amper report", *flags])
    written = report.write(result, options.out, command=command, version=amper.__version__)
    if not options.json:
        print(f"Recorded: {result['recording']}; selected checkpoint {result['evaluation']:.0f}.")
        _print_answer(speedups.answer([result]))
        print(f"Written: {written['report']} and {len(written) - 1} files beside it.")
    return {"written": {name: str(path) for name, path in written.items()}, **result}


def _latency(options: argparse.Namespace) -> Any:
    from experiments import study

    names = ("n", "batch", "machine", "csp_fraction", "fidelity", "seed")
    changes = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    latency = study.get("latency")
    return _run_study(options, latency, latency.cells(latency.parameters("default", changes)), None, 1)


def _waves(options: argparse.Namespace) -> Any:
    document, text = waves.write(options)
    if not options.json:
        print(text)
    return document


def _train(options: argparse.Namespace) -> Any:
    import rl

    with _progress() as stage:
        result = rl.train(
            options.env,
            agent=options.agent,
            replay={"sampler": options.replay, "capacity": options.capacity},
            n_steps=options.steps,
            seed=options.seed,
            progress=lambda done, of: stage("training", done, of),
        )
    selected, last = result.evaluation, result.last_evaluation
    stats = getattr(result.replay, "stats", {})
    if not options.json:
        print(
            f"{options.agent} on {options.env}, replay {options.replay}, {result.n_steps:,} steps, seed {options.seed}"
        )
        print(f"  training episodes      {len(result.returns):,}")
        print(f"  selected checkpoint    {selected.mean:.1f} over {len(selected.returns)} fresh episodes")
        print(
            f"    (averaged weights, the best of {len(result.curve)} periodic evaluations, at step {selected.step:,})"
        )
        print(f"  last iterate           {last.mean:.1f} on the same episodes")
        print("  replay                 " + ", ".join(f"{name} {value:,}" for name, value in stats.items()))
    return {
        "env": options.env, "agent": options.agent, "replay": options.replay, "seed": options.seed,
        "n_steps": result.n_steps, "returns": result.returns.tolist(), "selected": selected.to_dict(),
        "last_iterate": last.to_dict(), "curve": [entry.to_dict() for entry in result.curve],
        "replay_stats": dict(stats),
    }  # fmt: skip


def _compare(options: argparse.Namespace) -> Any:
    from experiments import study

    comparison = study.get("compare-replays")
    changes = {"env": options.env, "agent": options.agent, "replay": options.replay, "n_steps": options.steps,
               "capacity": options.capacity, "seeds": options.seeds, "seed": options.seed}  # fmt: skip
    cells = comparison.cells(comparison.parameters("default", changes))
    return _run_study(options, comparison, cells, _store(options), options.workers)


def _run(options: argparse.Namespace) -> Any:
    from experiments import study

    changes: dict[str, Any] = {}
    for text in options.set:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set must be key=value, got {text!r}")
        changes.setdefault(key, []).extend(_values(value))
    changes = {key: values if len(values) > 1 else values[0] for key, values in changes.items()}
    chosen = study.get(options.study)
    cells = chosen.cells(chosen.parameters(options.setting, changes))
    return _run_study(options, chosen, cells, _store(options), options.workers)


def _values(text: str) -> list[Any]:
    """Return one value, or the numbers of a list: `5`, `5,6`, `[5, 6]`; other text is one value, commas and all."""
    from experiments.compose import parse_value

    whole = parse_value(text)
    if isinstance(whole, list):
        return whole
    parts = [parse_value(part) for part in text.split(",")]
    return parts if all(isinstance(part, int | float) for part in parts) else [whole]


def _list(options: argparse.Namespace) -> Any:
    import hwsim
    import rl
    from amper import samplers
    from experiments import study

    studies = {name: study.get(name).question for name in study.available()}
    names = {
        "samplers": list(samplers.available()),
        "agents": list(rl.agents.available()),
        "machines": list(hwsim.machines.available()),
        "technologies": [name for name in hwsim.technologies() if hwsim.technology(name).kind == "tcam"],
    }
    if not options.json:
        _print_table(("study", "question"), list(studies.items()))
        for kind, known in names.items():
            print(f"{kind}: {', '.join(known)}")
    return {"studies": studies, **names}


def _results(options: argparse.Namespace) -> Any:
    from experiments import study

    if options.study is not None:
        study.get(options.study)
    if not options.store.exists():
        raise ValueError(f"store must be a file that a study wrote, got {str(options.store)!r}; run one first")
    rows = list(_store(options).rows(options.study))
    if not options.json:
        table = [
            (row["study"], json.dumps(row["parameters"]), row["seed"], row["version"], row["finished"]) for row in rows
        ]
        _print_table(("study", "parameters", "seed", "version", "finished (UTC)"), table)
        print(f"{len(rows)} rows in {options.store}; --json prints their results")
    return rows


def _tech(options: argparse.Namespace) -> Any:
    import hwsim

    if options.name is None:
        if options.node is not None:
            raise ValueError(f"--node must go with a technology's name, got {options.node:g} alone")
        titles = {name: hwsim.technology(name).title for name in hwsim.technologies()}
        if not options.json:
            _print_table(("technology", "what it describes"), list(titles.items()))
        return titles
    chosen = hwsim.technology(options.name)
    if options.node is not None:
        chosen = chosen.at_node(options.node)
    rows = [{"key": key, **dataclasses.asdict(cited)} for key, cited in chosen.cited().items()]
    if not options.json:
        print(chosen.title)
        _print_table(
            ("key", "value", "unit", "interval", "source"),
            [(r["key"], f"{r['value']:.6g}", r["unit"], _interval(r), r["source"]) for r in rows],
        )
    return {"name": chosen.name, "title": chosen.title, "numbers": rows}


def _interval(row: dict[str, Any]) -> str:
    return "-" if row["low"] is None else f"{row['low']:.4g} to {row['high']:.4g}"


def _validate(options: argparse.Namespace) -> Any:
    from experiments import validation
    from hwsim.validate import validate

    checks = validate(options.measurement)
    if not options.json:
        for title, columns, lines in validation.tables(checks):
            print(title)
            _print_table(columns, lines)
        print(validation.summary(checks))
    if validation.failed(checks):
        raise OSError(f"{len(validation.failed(checks))} checks miss their limit")
    return validation.document(checks)


def _calibrate(options: argparse.Namespace) -> Any:
    from experiments import calibration

    measure = calibration.gpu if options.command == "calibrate-gpu" else calibration.cpu
    with _progress() as stage:
        done = measure(options.n, options.batch, options.out, options.quick, stage)
    if not options.json:
        print(done.title)
        _print_table(done.columns, done.lines)
        print(done.notes)
    if done.failure:
        raise OSError(done.failure)
    return done.document


# -- running and printing -------------------------------------------------------------------------------
def _store(options: argparse.Namespace) -> Store:
    from experiments.store import Store, code_version

    return Store(options.store, version=code_version())


def _run_study(
    options: argparse.Namespace, study: Study, cells: Sequence[Cell], store: Store | None, n_workers: int
) -> Any:
    from experiments import runner

    figure: Path | None = getattr(options, "figure", None)
    if figure is not None:
        _check_figure(figure, study)
    fresh = getattr(options, "fresh", False)
    n_kept = 0 if store is None or fresh else sum(store.get(study.name, cell) is not None for cell in cells)
    with _progress() as stage:
        rows = runner.run(study, cells, store=store, n_workers=n_workers, fresh=fresh, stage=stage)
    if figure is not None and study.figure is not None:
        from experiments.plots.base import save_png

        save_png(study.figure(rows), str(figure))
    answer = study.answer(rows)
    if not options.json:
        print(study.question)
        _print_answer(answer)
        if n_kept:
            print(f"{n_kept} of {len(cells)} rows were in {options.store}; --fresh computes them again.")
    return {"study": study.name, "question": study.question, "rows": rows, "answer": answer.text}


def _check_figure(path: Path, study: Study) -> None:
    if study.figure is None:
        raise ValueError(f"--figure must go with a study that has one, got {study.name!r}")
    if path.suffix != ".png" or not path.parent.is_dir():
        raise ValueError(f"--figure must be a .png in a folder that exists, got {str(path)!r}")


def _print_answer(answer: Answer) -> None:
    _print_table(answer.columns, answer.rows)
    import textwrap

    print("\n\n".join(textwrap.fill(paragraph, 110) for paragraph in answer.text.split("\n\n")))


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row))
    console = Console()
    # A pipe or a file has no width to fold to.
    Console(width=None if console.is_terminal else 200, highlight=False, markup=False).print(table)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function (stage, done, of) that draws a bar a stage, where standard error is a terminal."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bars: dict[str, Any] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:

        def stage(name: str, done: int, of: int) -> None:
            if name not in bars:
                for bar in bars.values():
                    progress.update(bar, completed=progress.tasks[bar].total)
                bars[name] = progress.add_task(name, total=of)
            progress.update(bars[name], completed=done)

        yield stage


if __name__ == "__main__":
    sys.exit(main())
