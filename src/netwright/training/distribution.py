"""One training in several processes that torchrun started: DistributedDataParallel around the loop, as it is.

Every process has all examples and the whole order; of each batch it takes its own rows (``data.loading.Share``), so the
order does not depend on how many processes there are. Losses are weighted by rows, so that the mean of the gradients
is the gradient of the whole batch's mean. Process 0 validates, records and writes; the others only compute.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import datetime
import signal
import threading
import types
from collections.abc import Iterator
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from netwright.data.loading import Share, mixed
from netwright.errors import NetwrightError, RecipeError
from netwright.nn import sync_norm
from netwright.optim.optimizers import needs_closure
from netwright.recipe.schema import Train
from netwright.records import plural
from netwright.training import randomness
from netwright.training.evaluating import call
from netwright.training.loop import Job, Observer
from netwright.training.recording import KEPT_OUTPUTS, Interrupted
from netwright.training.state import State

PATIENCE = datetime.timedelta(hours=1)  # that the others wait while process 0 validates; a dead one is noticed at once
LOST = ("gloo", "nccl", "connection", "broken pipe", "store", "process group", "timed out", "peer")


class LostProcessError(NetwrightError):
    """Another process of the training is gone."""


class Processes:
    """All processes of a training: who this one is, and what they tell each other."""

    def __init__(self, rank: int, count: int, local: int) -> None:
        self.rank, self.count, self._local = rank, count, local
        if not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
            dist.init_process_group(backend, timeout=PATIENCE)
            atexit.register(_leave)
        self._norms = dist.new_group(timeout=PATIENCE)  # of its own: DDP's sums are under way meanwhile
        self._lost = False
        self.again = ""  # the command that goes on with the run
        self.share = Share(rank, count)

    @property
    def leads(self) -> bool:
        """Process 0: the one that writes."""
        return self.rank == 0

    def place(self, device: torch.device) -> torch.device:
        """The device of this process where the recipe says ``device``: on a machine with several GPUs one each."""
        if device.type != "cuda":
            return device
        if self._local >= torch.cuda.device_count():
            there = torch.cuda.device_count()
            raise RecipeError(
                "train.device", f"{self.count} processes and {plural(there, 'GPU')}", "a GPU for each process",
                f"torchrun --nproc-per-node {there}, or --set train.device=cpu",
            )  # fmt: skip
        torch.cuda.set_device(self._local)
        return torch.device("cuda", self._local)

    def require_possible(self, options: Train, optimizer: torch.optim.Optimizer) -> None:
        """Raises ``RecipeError`` for what cannot be divided."""
        least = 2 * self.count
        if int(options.batch_size) < least:
            raise RecipeError(
                "train.batch_size", f"{options.batch_size} for {self.count} processes", f"at least {least}",
                f"--set train.batch_size={least}, or fewer processes",
            )  # fmt: skip
        if options.unfreeze_every:
            raise RecipeError(
                "train.unfreeze_every", "blocks that begin to learn on the way, in several processes",
                "the same blocks throughout", "one process, or train.freeze alone",
            )  # fmt: skip
        if needs_closure(optimizer):
            raise RecipeError(
                "train.optimizer", f"{options.optimizer}, which evaluates the loss again, in several processes",
                "one backward a step", "one process, or another optimiser",
            )  # fmt: skip

    def same(self, value: Any) -> Any:
        """What process 0 has, on all of them; it waits for all."""
        told = [value]
        with self.explained():
            dist.broadcast_object_list(told, src=0)
        return told[0]

    def sums(self, values: dict[str, float]) -> dict[str, float]:
        """The sums of numbers under the same names over all processes."""
        names = sorted(values)
        total = torch.tensor([values[name] for name in names], dtype=torch.float64)
        with self.explained():
            dist.all_reduce(total)
        return dict(zip(names, total.tolist(), strict=True))

    def divide(self, job: Job, options: Train) -> None:
        """The job becomes this process's part: backward leaves the mean gradient of all. With ``train.sync_norm`` batch
        norms see the whole batch, at two small exchanges each in both directions. Waits for all processes."""
        job.objective = Weighted(job.objective, self.share)
        idle = self.same(_has_idle_parameters(job))
        if options.sync_norm:
            sync_norm.synchronise(job.network, self._norms, self.share)
        place = next(job.network.parameters()).device
        devices = [place.index] if place.type == "cuda" else None
        with self.explained():
            job.replica = DistributedDataParallel(job.network, device_ids=devices, find_unused_parameters=idle)

    def release(self, job: Job) -> None:
        """The network is one process's again."""
        job.replica = None
        sync_norm.release(job.network)

    def together(
        self, objective: Any, plateau: Any, inner: Observer | None = None, recorder: Leader | None = None
    ) -> Together:
        """The loop's observer; ``inner`` and ``recorder``: of process 0."""
        return Together(self, objective, inner, recorder, plateau)

    def other_randomness(self, seed: int, step: int) -> None:
        """Dropout differs from process to process, as it does from row to row of one batch."""
        if not self.leads:
            torch.manual_seed(mixed(seed, self.rank, step))

    def forgive_ends(self) -> None:
        """Where one is lost, torchrun ends the others by SIGTERM: what is to be done now is said before."""
        if self._lost and _here():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """What a collective operation says where another process is gone, as an error that says how to go on."""
        try:
            yield
        except RuntimeError as error:
            text = str(error)
            if not isinstance(error, dist.DistError) and not any(word in text.lower() for word in LOST):
                raise
            self._lost = True
            self.forgive_ends()
            raise LostProcessError(
                f"process {self.rank} of {self.count}", f"no answer from another ({text.splitlines()[0][:120]})",
                "all processes of the training; what was saved before is whole", self.again,
            ) from error  # fmt: skip


def _here() -> bool:
    """Whether signals can be answered."""
    return threading.current_thread() is threading.main_thread()


def _has_idle_parameters(job: Job) -> bool:
    """Whether a forward leaves trained parameters out: looking for them at every step costs time, so one look is
    made, on a copy."""
    with randomness.kept():
        copied, batch = copy.deepcopy(job.network).train(), next(iter(job.batches.epoch(0)))
        own = [parameter for parameter in copied.parameters() if parameter.requires_grad]
        with job.precision.cast():
            loss = job.objective.loss(call(copied, batch), batch.targets)
        return any(gradient is None for gradient in torch.autograd.grad(loss, own, allow_unused=True))


def _leave() -> None:
    if dist.is_initialized():
        with contextlib.suppress(Exception):  # the others may be gone
            dist.destroy_process_group()


class Weighted:
    """An objective whose loss counts by this process's rows of the running batch."""

    def __init__(self, objective: Any, share: Share) -> None:
        self._objective, self._share = objective, share

    def loss(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = self._objective.loss(outputs, targets)
        return loss * self._share.weight

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objective, name)


class Leader(Protocol):
    """Process 0's recorder."""

    def ask_to_stop(self) -> None: ...
    def merge(self, sums: Any) -> None: ...


class Together:
    """The loop's observer in every process: the loss is the whole batch's, all stop at the same step, the training
    metric is of all rows. What records and judges is ``inner``, in process 0 alone."""

    def __init__(
        self, processes: Processes, objective: Any, inner: Observer | None, recorder: Leader | None, plateau: Any
    ) -> None:
        self._processes, self._inner, self._recorder, self._plateau = processes, inner, recorder, plateau
        self._objective = objective
        self._meter = objective.light_meter()
        self._outputs: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._stop = False

    def after_step(self, state: State, loss: torch.Tensor, outputs: Any, targets: torch.Tensor) -> None:
        told = torch.stack([loss.detach().float().cpu(), torch.tensor(float(self._stop))])
        with self._processes.explained():
            dist.all_reduce(told)
        loss, stop = told[0] / self._processes.count, bool(told[1] > 0)
        own = self._processes.share.weight > 0  # else the rows are process 0's
        if self._inner is not None and self._recorder is not None:
            if stop:
                self._recorder.ask_to_stop()
            self._inner.after_step(state, loss, outputs, targets)
            return
        if own and isinstance(outputs, torch.Tensor):
            self._outputs.append((outputs.detach(), targets))
            if len(self._outputs) >= KEPT_OUTPUTS:
                self._tally()
        if stop:
            raise Interrupted

    def after_epoch(self, state: State) -> bool:
        if self._inner is not None and self._recorder is not None:
            self._recorder.merge(self._processes.sums)
            stop = self._inner.after_epoch(state)
            self._processes.same((stop, self._plateau.state_dict()))
            return stop
        self._tally()
        self._processes.sums(self._meter.state_dict())
        self._meter = self._objective.light_meter()
        stop, plateau = self._processes.same(None)
        self._plateau.load_state_dict(plateau)
        return bool(stop)

    def _tally(self) -> None:
        if self._outputs:
            outputs, targets = zip(*self._outputs, strict=True)
            self._outputs = []
            with torch.no_grad():
                self._meter.update(torch.cat(outputs), torch.cat(targets))

    @contextlib.contextmanager
    def stoppable(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM stop all processes after the same step. They come more than once, from the terminal and
        from torchrun, so that a second one changes nothing; torchrun itself ends what does not stop in 30 seconds."""
        if not _here():
            yield
            return

        def ask(number: int, frame: types.FrameType | None) -> None:
            self._stop = True

        previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with self._processes.explained():
                yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._processes.forgive_ends()
