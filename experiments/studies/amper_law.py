"""How far does AMPER draw from what exact prioritized replay would, and what decides it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.priorities import known
from experiments.study import Answer, Cell, Parameters, Row, Stage, Study, no_stage

if TYPE_CHECKING:
    from experiments.plots.base import Figure

Made = tuple[str, Mapping[str, Any]]
MATCHES = ("dithered", "radius", "prefix")
#: What everything is varied around: AMPER-fr with the paper's groups and with the default ones, and AMPER-k.
FORMS: Mapping[str, Made] = {
    "linear": ("amper-fr", {"grouping": "linear", "n_groups": 20, "lam": 0.15, "match": "dithered"}),
    "tapered": ("amper-fr", {"grouping": "tapered", "n_groups": (7, 2, 8), "lam": 0.5, "match": "dithered"}),
    "k": ("amper-k", {"grouping": "linear", "n_groups": 20, "lam": 0.3, "distance": "value"}),
}
_TAPERED = ((7, 1, 2), (7, 1, 4), (7, 2, 8), (7, 4, 16), (7, 8, 32))
#: The values each option takes, by form; the form's own among them.
AXES: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "linear": {
        "n_groups": (4, 8, 20, 64, 256), "lam": (0.05, 0.15, 0.5, 1.0), "bits": (4, 6, 8, 12, 16, 24), "match": MATCHES,
    },
    "tapered": {
        "n_groups": _TAPERED, "lam": (0.05, 0.15, 0.5, 1.0), "bits": (4, 6, 8, 12, 16, 24), "match": MATCHES,
    },
    "k": {
        "n_groups": (4, 8, 20, 64, 256, (7, 2, 8)), "lam": (0.1, 0.3, 1.0), "bits": (4, 6, 8, 12, 16),
        "distance": ("value", "hamming"),
    },
}  # fmt: skip


def contenders() -> dict[str, Made]:
    """Return every sampler by name, "form option=value": one option changed from a form.

    Groups and lambda' are varied for every match: "linear lam=1.0 prefix".

    Examples
    --------
    >>> made = contenders()
    >>> made["k distance=hamming"]
    ('amper-k', {'n_groups': 20, 'lam': 0.3, 'distance': 'hamming'})
    >>> made["linear lam=1.0 prefix"]
    ('amper-fr', {'n_groups': 20, 'lam': 1.0, 'match': 'prefix'})
    """
    found: dict[str, Made] = {"uniform": ("uniform", {})}
    for form, (sampler, own) in FORMS.items():
        options = {key: value for key, value in own.items() if key != "grouping"}  # n_groups says which
        for axis, values in AXES[form].items():
            for value in values:
                found[name(form, axis, value)] = (sampler, {**options, axis: value})
                if axis in ("n_groups", "lam") and sampler == "amper-fr":
                    for match in MATCHES[1:]:
                        found[f"{name(form, axis, value)} {match}"] = (
                            sampler,
                            {**options, axis: value, "match": match},
                        )
    return found


def name(form: str, axis: str, value: Any) -> str:
    """Return the name of a contender; several names may be of one sampler."""
    return f"{form} {axis}={value}"


def cells(parameters: Parameters) -> list[Cell]:
    """Return one cell a source of priorities."""
    shared = {key: parameters[key] for key in ("n", "n_samplings", "n_scanned", "length")}
    return [Cell({**shared, "source": known(source)}, parameters["seed"]) for source in parameters["source"]]


def run(parameters: Parameters, seed: int, stage: Stage = no_stage) -> Row:
    """Measure every contender on one source of priorities."""
    from experiments.priorities import measured
    from experiments.tasks import TASKS

    source = parameters["source"]
    wanted = contenders()
    distinct: dict[str, str] = {}  # the first name of each sampler
    names = {key: distinct.setdefault(repr(made), key) for key, made in wanted.items()}
    laws = measured(
        source,
        {key: wanted[key] for key in distinct.values()},
        n=parameters["n"],
        length=parameters["length"],
        seed=seed,
        n_samplings=parameters["n_samplings"],
        n_scanned=parameters["n_scanned"],
        progress=lambda done, of: stage("training an agent", done, of),
    )
    return {
        "source": source,
        "is_live": source in TASKS,
        "n": parameters["n"],
        "laws": {key: laws[first] for key, first in names.items()},
    }


COLUMNS = {
    "uniform": "uniform",
    "linear, m = 20": "linear n_groups=20",
    "m = 64": "linear n_groups=64",
    "tapered": "tapered lam=0.5",
    "prefix": "tapered match=prefix",
    "8 bits": "tapered bits=8",
    "k, value": "k distance=value",
    "k, Hamming": "k distance=hamming",
    "k, tapered": "k n_groups=(7, 2, 8)",
}


def answer(rows: Sequence[Row]) -> Answer:
    """Return KL by source for the samplers one would choose among, and what they show."""
    table = []
    for row in rows:
        laws = row["laws"]
        kls = tuple(f"{laws[key]['kl']:.2g}" for key in COLUMNS.values())
        default = laws["tapered lam=0.5"]
        table.append((row["source"], *kls, f"{default['tv']:.3f}", f"{default['csp']:.1%}"))
    columns = ("source", *COLUMNS, "TV, tapered", "CSP, tapered")
    return Answer(columns, tuple(table), _verdict(rows))


def _verdict(rows: Sequence[Row]) -> str:
    def worst(key: str) -> tuple[float, str]:
        return max((row["laws"][key]["kl"], row["source"]) for row in rows)

    def of(key: str) -> str:
        value, source = worst(key)
        return f"{value:.2g} ({source})"

    live = " and live ones" if any(row["is_live"] for row in rows) else ""
    return (
        f"KL(P || PER), natural logarithm, less the noise of its estimate. The groups decide it: over these "
        f"priorities{live} tapered groups stray at worst by {of('tapered lam=0.5')}, 20 linear groups by "
        f"{of('linear n_groups=20')}, 64 by {of('linear n_groups=64')}, uniform sampling by {of('uniform')}. A single "
        f"search of fixed power of two (prefix) makes it {of('tapered match=prefix')}, 8 bits {of('tapered bits=8')}. "
        f"AMPER-k strays by {of('k distance=value')} by value and {of('k distance=hamming')} by Hamming distance, "
        f"which is what a match line senses."
    )


def figure(rows: Sequence[Row]) -> Figure:
    """Return KL against each option, a line a source, a row of panels a form."""
    from experiments.plots.divergence import law_sweeps

    return law_sweeps(rows, AXES, name)


_DEFAULT = {
    "source": [
        "U[0,1]", "exponential", "exponential^.6", "lognormal(0,1)", "5% high",
        "CartPole-v1", "Acrobot-v1", "LunarLander-v3",
    ],
    "n": 20_000,
    "n_samplings": 20_000,
    "n_scanned": 400,
    "length": 1.0,  # of the task's own number of steps
    "seed": 0,
}  # fmt: skip
STUDY = Study(
    name="amper-law",
    question="How far does AMPER draw from what exact prioritized replay would, and what decides it?",
    settings={
        "tiny": {
            **_DEFAULT, "source": ["lognormal(0,1)", "CartPole-v1"], "n": 1_000, "length": 0.05,
            "n_samplings": 200, "n_scanned": 50,
        },
        "default": _DEFAULT,
        "full": {**_DEFAULT, "n_samplings": 100_000, "n_scanned": 4_000},
    },
    cells=cells,
    run=run,
    answer=answer,
    figure=figure,
)  # fmt: skip
