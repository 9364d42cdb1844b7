"""The steps of fine-tuning and pre-training in PyTorch, as `fine_tuning` and `pretraining` take them in MXNet.

Network, loss, clipping and update are the same but for one thing: MXNet leaves the words that a step has not seen as
they are, while here they go on moving by their moments. Each step seeds its own masks, so that a run that was killed
and resumed follows the same curve.

Axes: N reviews or lanes, T tokens, V words, E = H units, K sampled words, M = T * N.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from sentiment_core.artifact import Architecture, Weights
from sentiment_core.dataset.batches import Dataset, shuffled_batches
from sentiment_core.errors import InputError, UsageError
from sentiment_core.training.recipes import LoopSettings, PretrainSettings, TrainSettings
from sentiment_core.training.steps.checkpoint import Checkpoint
from sentiment_core.training.steps.corpus import Corpus, WordSampler
from sentiment_core.training.steps.loop import BestEpoch, perplexity_of
from sentiment_core.training.steps.schedule import LayerRates
from sentiment_core.training.steps.torch_network import (
    TorchEncoder,
    TorchSentimentNet,
    locked_dropout,
    read_weights,
    torch_device,
    write_weights,
)

__all__ = ["TorchAdam", "TorchFineTuning", "TorchPretraining"]


class TorchAdam:
    """AdamW with clipping of the global norm and a factor on the rate for each parameter."""

    def __init__(self, parameters: dict[str, nn.Parameter], *, clip_norm: float, weight_decay: float = 0.0) -> None:
        self.parameters = parameters
        self.clip_norm = clip_norm
        groups = [{"params": [parameter], "name": name} for name, parameter in parameters.items()]
        self._adam = torch.optim.AdamW(groups, lr=0.0, weight_decay=weight_decay)

    def update(self, *, learning_rate: float, factors: Mapping[str, float] | None = None) -> bool:
        """Apply the gradients; False, and nothing done, if they are not finite."""
        norm = nn.utils.clip_grad_norm_(list(self.parameters.values()), self.clip_norm)
        if not math.isfinite(float(norm)):
            return False
        for group in self._adam.param_groups:
            group["lr"] = learning_rate * (factors[group["name"]] if factors else 1.0)
        self._adam.step()
        return True

    def zero(self) -> None:
        """Forget the gradients."""
        self._adam.zero_grad(set_to_none=True)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The moments as arrays, for a checkpoint."""
        states = {name: self._adam.state.get(parameter, {}) for name, parameter in self.parameters.items()}
        return {
            f"{moment}/{name}": state[key].cpu().numpy()
            for name, state in states.items()
            for moment, key in (("mean", "exp_avg"), ("variance", "exp_avg_sq"))
            if key in state
        }

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], *, step: int) -> None:
        """Inverse of `arrays`, after ``step`` updates."""
        for name, parameter in self.parameters.items():
            if f"mean/{name}" in arrays:
                self._adam.state[parameter] = {
                    "step": torch.tensor(float(step)),
                    "exp_avg": torch.from_numpy(arrays[f"mean/{name}"].copy()).to(parameter.device),
                    "exp_avg_sq": torch.from_numpy(arrays[f"variance/{name}"].copy()).to(parameter.device),
                }


def _seed_step(settings: LoopSettings, step: int) -> np.random.Generator:
    """Seed the masks of a step; returns a generator for what is drawn on the CPU."""
    rng = np.random.default_rng((settings.seed, 1 << 20, step))
    torch.manual_seed(int(rng.integers(1 << 31)))
    return rng


class TorchFineTuning:
    """One run of fine-tuning: network, optimiser, averaged weights, best epoch so far (see `training_loop.Run`)."""

    def __init__(
        self,
        data: Dataset,
        validation: Dataset,
        *,
        architecture: Architecture,
        settings: TrainSettings,
        device: str,
    ) -> None:
        if settings.weight_drop:
            raise UsageError(
                f"weight_drop must be 0 with PyTorch on {device}, not {settings.weight_drop}; train on the CPU with "
                "MXNet, or set 0"
            )
        self.data = data
        self.validation = validation
        self.settings = settings
        self.device = torch_device(device)
        torch.manual_seed(settings.seed)
        net = TorchSentimentNet(architecture, encoder_dropout=settings.encoder_dropout, dropout=settings.dropout)
        self.net = net.to(self.device)
        self.parameters = self.net.named()
        self.best = BestEpoch(patience=settings.patience)
        # The widest batch would be one of the longest reviews alone: the budget holds for all.
        self.steps_per_epoch = len(self._order(0))
        if self.steps_per_epoch < 2:
            raise InputError(
                f"{len(data):,} reviews are one batch only, which teaches nothing; give more reviews or a smaller "
                "--batch-tokens"
            )
        self.optimizer = TorchAdam(self.parameters, clip_norm=settings.clip_norm)
        self.layer_rates = LayerRates(
            layers=("output", *(f"lstm.{layer}" for layer in reversed(range(architecture.num_layers))), "embedding"),
            decay=settings.layer_decay,
            unfreeze_steps=settings.unfreeze_fraction * settings.epochs * self.steps_per_epoch,
        )
        self.word_vector_scale = 0.0
        self.average: dict[str, torch.Tensor] = {}
        self._token_ids = torch.from_numpy(data.token_ids.astype(np.int32)).to(self.device)

    @property
    def history(self) -> list[dict[str, float]]:
        """What each epoch measured."""
        return self.best.history

    @history.setter
    def history(self, history: list[dict[str, float]]) -> None:
        self.best.history = history

    def load(self, weights: Weights) -> None:
        """Start from weights of the same names."""
        write_weights(self.parameters, weights)

    def start(self) -> None:
        """Take note of the weights that the run begins with, whether it is then resumed or not."""
        self.word_vector_scale = float(self.net.embedding.weight.detach().std(correction=0))
        self.average = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def batches(self, epoch: int, first: int) -> Iterator[npt.NDArray[np.int64]]:
        """Indices of the reviews of each batch."""
        order = self._order(epoch)
        # Every epoch has its own batches; their number differs by a few, and the schedule counts the first epoch's.
        for position in range(first, self.steps_per_epoch):
            yield order[position % len(order)]

    def step(self, batch: npt.NDArray[np.int64], *, step: int, learning_rate: float) -> tuple[float, int]:
        """One update; returns the mean loss and the number of tokens."""
        settings = self.settings
        _seed_step(settings, step)
        self.net.train()
        self.optimizer.zero()
        token_ids, lengths = self._padded(self.data, self._token_ids, batch)
        labels = torch.from_numpy(self.data.positive[batch]).to(self.device)
        vocabulary = len(self.net.embedding.weight)
        keep = (torch.rand(vocabulary, device=self.device) >= settings.word_dropout) / (1 - settings.word_dropout)
        kept = keep[token_ids][..., None]  # (T, N, 1)
        embedded = self.net.embedding(token_ids)  # (T, N, E)
        masks = torch.random.get_rng_state(), self._cuda_state()
        loss = functional.binary_cross_entropy_with_logits(self.net(embedded * kept, lengths), labels)
        total = loss
        if settings.adversarial_epsilon:
            (gradient,) = torch.autograd.grad(loss, embedded, retain_graph=True)
            norms = gradient.square().sum(dim=(0, 2), keepdim=True).sqrt()
            shift = settings.adversarial_epsilon * self.word_vector_scale * gradient / (norms + 1e-12)
            torch.random.set_rng_state(masks[0])  # both losses of a step see the same dropout
            self._set_cuda_state(masks[1])
            worst = self.net((embedded + shift.detach()) * kept, lengths)
            total = (loss + functional.binary_cross_entropy_with_logits(worst, labels)) / 2
        total.backward()
        factors = {name: self.layer_rates.factor(name, step) for name in self.parameters}
        if not self.optimizer.update(learning_rate=learning_rate, factors=factors):
            return math.nan, 0
        # The average is short at first, so that the early weights are forgotten.
        keep_share = min(settings.weight_average, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self.average.values()), [parameter.detach() for parameter in self.parameters.values()], 1 - keep_share
        )
        return float(loss.detach()), int(self.data.lengths[batch].sum())

    def finish_epoch(self, epoch: int, train_loss: float) -> bool:
        """Measure the averaged weights, as they will be stored, and keep them if they are the best so far."""
        current = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        # Copied: on a CPU the array would be the tensor's own memory, which the next epoch overwrites.
        averaged = {name: average.cpu().numpy().copy() for name, average in self.average.items()}
        write_weights(self.parameters, self.best.storable(averaged))
        logits = self._logits(self.validation)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(current[name])
        return self.best.add(epoch, train_loss, weights=averaged, logits=logits, positive=self.validation.positive)

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """Weights, moments, averages and the best epoch."""
        arrays = {f"weights/{name}": array for name, array in read_weights(self.parameters).items()}
        arrays |= {f"adam/{name}": array for name, array in self.optimizer.arrays().items()}
        arrays |= {f"average/{name}": average.cpu().numpy() for name, average in self.average.items()}
        return arrays | self.best.arrays()

    def restore(self, checkpoint: Checkpoint, *, step: int) -> None:
        """Inverse of `arrays`."""
        write_weights(self.parameters, checkpoint.part("weights"))
        self.optimizer.restore(checkpoint.part("adam"), step=step)
        average = checkpoint.part("average")
        self.average = {name: torch.from_numpy(average[name].copy()).to(self.device) for name in self.parameters}
        self.best.restore(checkpoint)

    def _order(self, epoch: int) -> list[npt.NDArray[np.int64]]:
        rng = np.random.default_rng((self.settings.seed, epoch))
        return shuffled_batches(self.data.lengths, batch_tokens=self.settings.batch_tokens, rng=rng)

    def _padded(
        self, data: Dataset, token_ids: torch.Tensor, batch: npt.NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids (T, N), padded at the end by the first id of each text, and lengths (N,)."""
        starts = torch.from_numpy(data.starts[batch]).to(self.device)
        lengths = torch.from_numpy(data.lengths[batch].astype(np.int64)).to(self.device)
        times = torch.arange(int(data.lengths[batch].max()), device=self.device)[:, None]
        return token_ids[torch.where(times < lengths, starts + times, starts)], lengths

    def _logits(self, part: Dataset) -> npt.NDArray[np.float32]:
        self.net.eval()
        token_ids = torch.from_numpy(part.token_ids.astype(np.int32)).to(self.device)
        logits = np.empty(len(part), np.float32)
        with torch.inference_mode():
            for batch in shuffled_batches(
                part.lengths, batch_tokens=self.settings.batch_tokens, rng=np.random.default_rng(0)
            ):
                ids, lengths = self._padded(part, token_ids, batch)
                logits[batch] = self.net(self.net.embedding(ids), lengths).cpu().numpy()
        return logits

    def _cuda_state(self) -> torch.Tensor | None:
        return torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None

    def _set_cuda_state(self, state: torch.Tensor | None) -> None:
        if state is not None:
            torch.cuda.set_rng_state(state, self.device)


class TorchPretraining:
    """One run of pre-training: network, optimiser, carried states (see `training_loop.Run`)."""

    def __init__(
        self,
        data: Corpus,
        measured: Corpus,
        *,
        architecture: Architecture,
        settings: PretrainSettings,
        device: str,
    ) -> None:
        if settings.weight_drop:
            raise UsageError(
                f"weight_drop must be 0 with PyTorch on {device}, not {settings.weight_drop}; train on the CPU with "
                "MXNet, or set 0"
            )
        self.data = data
        self.measured = measured
        self.settings = settings
        self.device = torch_device(device)
        self.history: list[dict[str, float]] = []
        self.steps_per_epoch = (len(data.token_ids) // settings.batch_size - 1) // settings.bptt
        torch.manual_seed(settings.seed)
        self.embedding = nn.Embedding(architecture.vocab_size, architecture.embed_size).to(self.device)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.encoder = TorchEncoder(architecture, dropout=settings.dropout).to(self.device)
        self.sampler = WordSampler.of(data, vocab_size=architecture.vocab_size, negatives=settings.negatives)
        self.bias = nn.Parameter(torch.from_numpy(self.sampler.log_unigram).to(self.device))
        self.log_draws = torch.from_numpy(self.sampler.log_draws).to(self.device)
        self.states: list[tuple[torch.Tensor, torch.Tensor]] | None = None
        self.parameters = {
            "embedding.weight": self.embedding.weight,
            **self.encoder.named(),
            "decoder.bias": self.bias,
        }
        self.optimizer = TorchAdam(self.parameters, clip_norm=settings.clip_norm)

    def load(self, weights: Weights) -> None:
        """Start from weights of the same names."""
        write_weights(self.parameters, weights)

    def batches(self, epoch: int, first: int) -> Iterator[npt.NDArray[np.int32]]:
        """Windows of (T + 1, N) tokens: the last row of one is the first of the next."""
        if first == 0:
            self.states = None
        return self.data.windows(self.settings, epoch=epoch, first=first, steps=self.steps_per_epoch)

    def step(self, batch: npt.NDArray[np.int32], *, step: int, learning_rate: float) -> tuple[float, int]:
        """One update; returns the mean loss and the number of tokens, and carries the states on."""
        settings = self.settings
        rng = _seed_step(settings, step)
        self.encoder.train()
        self.optimizer.zero()
        ids = torch.from_numpy(batch).to(self.device)  # (T + 1, N)
        sampled = torch.from_numpy(self.sampler.draw(rng)).to(self.device)  # (K,)
        targets = ids[1:].reshape(-1)  # (M,)
        hidden, states = self.encoder(self.embedding(ids[:-1]), self.states)
        hidden = locked_dropout(hidden, settings.dropout, training=True).flatten(0, 1)  # (M, H)
        shift = self.bias - self.log_draws  # (V,)
        true_logits = (hidden * self.embedding(targets)).sum(dim=1) + shift[targets]  # (M,)
        sampled_logits = hidden @ self.embedding(sampled).T + shift[sampled]  # (M, K)
        sampled_logits = sampled_logits.masked_fill(targets[:, None] == sampled, -1e4)
        loss = (torch.logsumexp(torch.cat([true_logits[:, None], sampled_logits], dim=1), dim=1) - true_logits).mean()
        loss.backward()
        finite = self.optimizer.update(learning_rate=learning_rate)
        self.states = [(hidden_state.detach(), cell.detach()) for hidden_state, cell in states]
        return (float(loss.detach()) if finite else math.nan), targets.numel()

    def finish_epoch(self, epoch: int, train_loss: float) -> bool:
        """Measure the perplexity."""
        self.history.append(perplexity_of(self.held_out_loss(), epoch=epoch, train_loss=train_loss))
        return False

    def held_out_loss(self) -> float:
        """Mean loss per token over the whole vocabulary, on the held-out texts."""
        self.encoder.eval()
        states, total, count = None, 0.0, 0
        with torch.inference_mode():
            for window in self.measured.measured_windows():
                ids = torch.from_numpy(window).to(self.device)
                hidden, states = self.encoder(self.embedding(ids[:-1]), states)
                logits = hidden.flatten(0, 1) @ self.embedding.weight.T + self.bias
                total += float(functional.cross_entropy(logits, ids[1:].reshape(-1).long(), reduction="sum"))
                count += window[1:].size
        return total / count

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """The weights by artifact name, float32."""
        return read_weights(self.parameters)

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """Weights, moments and carried states."""
        arrays = {f"weights/{name}": array for name, array in self.weights().items()}
        arrays |= {f"adam/{name}": array for name, array in self.optimizer.arrays().items()}
        for layer, pair in enumerate(self.states or ()):
            arrays |= {f"states/{layer}/{part}": state.cpu().numpy() for part, state in enumerate(pair)}
        return arrays

    def restore(self, checkpoint: Checkpoint, *, step: int) -> None:
        """Inverse of `arrays`."""
        write_weights(self.parameters, checkpoint.part("weights"))
        self.optimizer.restore(checkpoint.part("adam"), step=step)
        kept = checkpoint.part("states")
        pairs = [
            tuple(torch.from_numpy(kept[f"{layer}/{part}"].copy()).to(self.device) for part in range(2))
            for layer in range(len(kept) // 2)
        ]
        self.states = [(hidden, cell) for hidden, cell in pairs] or None
