"""The treasury of treasury.toml in radCAD or in cadCAD, by the equations of crates/earnest-sim: the grant comes in, people
are paid, what is left buys compute at the month's price, and the price walks on. A lab that cannot pay its people closes.

    treasury.py radcad|cadcad [MODE] < terms.json

MODE is the peer's own (SINGLE_PROCESS, MULTIPROCESSING, PATHOS; single_proc, multi_proc), or `halves`: its single process,
once on each processor for a part of the paths, which is the fastest by far. Between processes of their own both send
every state in pickled form, and cadCAD starts as many processes as there are paths.

Writes the seconds of the run, imports not counted, and cash and hours of each design at the end of every month: mean over
the paths and standard error.
"""

import json
import math
import multiprocessing
import os
import random
import sys
import time

PROCESSES = os.cpu_count()


def price(params, substep, history, state, signals):
    return "price", state["price"] * math.exp(params["drift"] + params["spread"] * random.gauss(0.0, 1.0))


def cash(params, substep, history, state, signals):
    if state["closed"]:
        return "cash", state["cash"]
    left = state["cash"] + params["grant"] - params["people"]
    if left < 0.0:
        return "cash", left + params["people"]
    return "cash", left - min(params["hours"] * state["price"], left)


def hours(params, substep, history, state, signals):
    left = state["cash"] + params["grant"] - params["people"]
    if state["closed"] or left < 0.0:
        return "hours", state["hours"]
    return "hours", state["hours"] + min(params["hours"], left / state["price"])


def closed(params, substep, history, state, signals):
    return "closed", state["closed"] or state["cash"] + params["grant"] < params["people"]


BLOCKS = [{"policies": {}, "variables": {"price": price, "cash": cash, "hours": hours, "closed": closed}}]


def state_and_params(terms):
    """At the start; the grant is swept over the designs."""
    state = {"price": terms["hour"], "cash": terms["cash"], "hours": 0.0, "closed": False}
    params = {key: [terms[key]] for key in ("drift", "spread", "people", "hours")}
    return state, params | {"grant": terms["grants"]}


def radcad(terms, mode, paths):
    from radcad import Engine, Model, Simulation
    from radcad.backends import Backend

    state, params = state_and_params(terms)
    model = Model(initial_state=state, state_update_blocks=BLOCKS, params=params)
    simulation = Simulation(model=model, timesteps=terms["months"], runs=paths)
    simulation.engine = Engine(
        backend=Backend[mode], processes=PROCESSES, deepcopy=False, drop_substeps=True
    )
    return simulation.run


def cadcad(terms, mode, paths):
    from cadCAD.configuration import Experiment
    from cadCAD.configuration.utils import config_sim
    from cadCAD.engine import ExecutionContext, Executor

    state, params = state_and_params(terms)
    config = config_sim({"N": paths, "T": range(terms["months"]), "M": params})
    experiment = Experiment()
    experiment.append_model(
        sim_configs=config, initial_state=state, partial_state_update_blocks=BLOCKS
    )
    context = ExecutionContext(mode, additional_objs={"deepcopy_off": True})
    executor = Executor(context, experiment.configs, supress_print=True)
    return lambda: executor.execute()[0]


PEERS = {"radcad": (radcad, "SINGLE_PROCESS"), "cadcad": (cadcad, "single_proc")}


def sums(states, terms):
    """By design, month and column: how many, their sum and that of their squares."""
    sums = [[[[0, 0.0, 0.0] for _ in "ch"] for _ in range(terms["months"])] for _ in terms["grants"]]
    for state in states:
        if state["timestep"] > 0:
            columns = sums[state["subset"]][state["timestep"] - 1]
            for column, key in zip(columns, ("cash", "hours")):
                column[0] += 1
                column[1] += state[key]
                column[2] += state[key] ** 2
    return sums


def timed(run):
    begin = time.perf_counter()
    states = run()
    return time.perf_counter() - begin, states


def half(peer, terms, paths):
    # Each process would draw its parent's numbers once more.
    random.seed()
    make, mode = PEERS[peer]
    seconds, states = timed(make(terms, mode, paths))
    return seconds, sums(states, terms)


def mean_and_error(parts):
    count, total, squares = (sum(part) for part in zip(*parts))
    mean = total / count
    return mean, math.sqrt(max(squares / count - mean**2, 0.0) / count)


def main():
    peer, mode = sys.argv[1], (sys.argv[2:] or ["halves"])[0]
    terms = json.load(sys.stdin)
    make, paths = PEERS[peer][0], terms["paths"]
    # Imports what it needs.
    make(terms, PEERS[peer][1], 1)
    if mode == "halves":
        with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
            shares = [paths // PROCESSES + (i < paths % PROCESSES) for i in range(PROCESSES)]
            found = pool.starmap(half, [(peer, terms, share) for share in shares], chunksize=1)
        seconds, parts = max(seconds for seconds, _ in found), [part for _, part in found]
    else:
        seconds, states = timed(make(terms, mode, paths))
        parts = [sums(states, terms)]
    designs = [
        {
            key: [mean_and_error([part[s][m][k] for part in parts]) for m in range(terms["months"])]
            for k, key in enumerate(("cash", "hours"))
        }
        for s in range(len(terms["grants"]))
    ]
    json.dump({"seconds": seconds, "designs": designs}, sys.stdout)


if __name__ == "__main__":
    main()
