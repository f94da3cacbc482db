"""Parametrized modules, with sharded variables: each program runs on a plain and on a sharded model."""

import functools

import torch
import torch.nn.utils.prune
import weft
from ranks.replaced import LAYOUTS, both, facts, net, same_models, train, train_load_and_train
from support.cases import cases_on_worlds
from torch import nn


class Scaled(nn.Module):
    """A parametrization with another original than the weight."""

    def forward(self, original):
        return original * 2

    def right_inverse(self, weight):
        return weight / 2


class Symmetric(nn.Module):
    def forward(self, original):
        return original.triu() + original.triu(1).transpose(-1, -2)


nn_p = nn.utils.parametrizations
PARAMETRIZATIONS = {
    "spectral_norm": lambda m: nn_p.spectral_norm(m[2]),
    "spectral_norm of dimension 1": lambda m: nn_p.spectral_norm(m[0], dim=1, n_power_iterations=3),
    "orthogonal": lambda m: nn_p.orthogonal(m[0]),
    "orthogonal, cayley": lambda m: nn_p.orthogonal(m[2], orthogonal_map="cayley"),
    "orthogonal, matrix_exp": lambda m: nn_p.orthogonal(m[2], orthogonal_map="matrix_exp", use_trivialization=False),
    "weight_norm": lambda m: nn_p.weight_norm(m[0]),
    "weight_norm of dimension 1": lambda m: nn_p.weight_norm(m[2], dim=1),
    "one of one's own": lambda m: nn.utils.parametrize.register_parametrization(m[0], "weight", Scaled()),
    "two": lambda m: [nn.utils.parametrize.register_parametrization(m[2], "weight", Scaled()) for _ in range(2)],
    "of a buffer": lambda m: nn.utils.parametrize.register_parametrization(m[3], "running_mean", Scaled()),
}


def parametrized(mesh, name, first):
    """Registered before or after distributing; trained, read from a checkpoint, set, removed, trained."""
    models = []
    for sharded in (None, mesh):
        model = net()
        torch.manual_seed(3)
        with weft.random_mode("replay"):
            if not first and sharded is not None:
                weft.distribute_module(model, LAYOUTS, mesh=mesh)
                before = facts(model)
            PARAMETRIZATIONS[name](model)
            if first and sharded is not None:
                weft.distribute_module(model, {r"(0|2)/.*original(1|)": ("a", None)} | LAYOUTS, mesh=mesh)
            train_load_and_train(model)
        models.append(model)
    same_models(models[1], models[0])
    for model in models:
        for module in model:
            for tensor in [*getattr(module, "parametrizations", {})]:
                nn.utils.parametrize.remove_parametrizations(module, tensor)
        assert not any(nn.utils.parametrize.is_parametrized(m) for m in model)
        train(model)
    after = facts(models[1])
    if "weight_norm" in name:  # its variables are new ones
        assert first or all(any(after[n][1]) for n in ("0.weight", "2.weight")), after
        same_models(models[1], models[0])
    elif "matrix_exp" in name:  # the variable shares a part of a larger matrix, as that lies
        same_models(models[1], models[0])
    elif first:
        assert after["0.weight"][1] == ("a", None), after
        same_models(models[1], models[0])
    else:
        same_models(models[1], models[0], before)


def older_reparametrizations(mesh):
    """nn.utils.weight_norm, nn.utils.spectral_norm and nn.utils.prune keep the variable under another name."""
    programs = {
        "weight_norm": (
            lambda m: nn.utils.weight_norm(m[0]),
            lambda m: nn.utils.remove_weight_norm(m[0]),
        ),
        "spectral_norm": (
            lambda m: nn.utils.spectral_norm(m[2]),
            lambda m: nn.utils.remove_spectral_norm(m[2]),
        ),
        "prune": (
            lambda m: (
                nn.utils.prune.l1_unstructured(m[0], "weight", 0.4),
                nn.utils.prune.ln_structured(m[2], "weight", 0.5, 2, 0),
            ),
            lambda m: (nn.utils.prune.remove(m[0], "weight"), nn.utils.prune.remove(m[2], "weight")),
        ),
        "random prune": (
            lambda m: nn.utils.prune.random_unstructured(m[0], "weight", 0.4),
            lambda m: nn.utils.prune.remove(m[0], "weight"),
        ),
    }
    for name, (begin, end) in programs.items():

        def program(model, begin=begin, end=end):
            begin(model)
            train_load_and_train(model)
            end(model)
            train(model)

        sharded, plain, _ = both(mesh, program)
        same_models(sharded, plain)
        for tensor in ("0.weight", "2.weight"):
            assert any(facts(sharded)[tensor][1]), (name, facts(sharded))


CASES = {"older_reparametrizations": older_reparametrizations} | {
    f"{name}, {'before' if first else 'after'}": functools.partial(parametrized, name=name, first=first)
    for name in PARAMETRIZATIONS
    for first in (False, True)
}

results, test_equals_plain = cases_on_worlds(globals(), 2, 3, mesh=-1)
