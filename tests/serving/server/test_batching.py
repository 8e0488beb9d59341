"""Batches across requests: right answers, bounded queues, deadlines."""

import asyncio
import threading
import time

import numpy as np
import pytest

from serving import Generator
from serving.contract.latents import latents
from serving.server.batching import Batcher, Expired, Job, Overloaded


@pytest.fixture(scope="module")
def generator(digits):
    return Generator.load(digits, threads=1)


class Gate:
    """A generator that waits for permission to run, and notes the sizes of its batches."""

    def __init__(self, generator):
        self._generator = generator
        self.chunk, self.latent_dim, self.info = 4, generator.latent_dim, generator.info
        self.open = threading.Event()
        self.entered = threading.Event()
        self.batches = []

    def images(self, z, labels, *truncation):
        self.entered.set()
        assert self.open.wait(10)
        self.batches.append(len(z))
        return self._generator.images(z, labels, *truncation)


class Broken(Gate):
    def images(self, z, labels):
        self.batches.append(len(z))
        time.sleep(0.02)  # as a network takes: all could fail before the first failure is heard of
        raise RuntimeError("no")


class Notes:
    def __init__(self):
        self.images = []
        self.requests = 0

    def batch(self, images, seconds):
        self.images.append(images)

    def request(self, waited_s, encode_s):
        self.requests += 1


def job(generator, seeds, label=1, **values):
    labels = np.full(len(seeds), label)
    return Job(
        generator, labels, lambda images: images.copy(), seeds=np.asarray(seeds, np.int64), pixels=True, **values
    )


def run(make, **settings):
    """Runs `make(batcher)`, a coroutine, on a loop with a batcher; returns what it returns."""

    async def main():
        batcher = Batcher(asyncio.get_running_loop(), **settings)
        try:
            return await make(batcher)
        finally:
            await asyncio.to_thread(batcher.close)

    return asyncio.run(main())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


async def occupied(batcher, gate):
    """Has a thread wait at a gate; returns what it will make."""
    running = asyncio.ensure_future(batcher.run(job(gate, [0])))
    await until(gate.entered.is_set)
    return running


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("max_batch", [0, 1, 5])
def test_each_gets_its_own_pictures_to_the_last_bit(generator, threads, max_batch):
    rng = np.random.default_rng(0)
    wanted = [(rng.integers(-(2**62), 2**62), int(rng.integers(1, 40)), int(rng.integers(3))) for _ in range(60)]

    async def all_at_once(batcher):
        return await asyncio.gather(
            *(batcher.run(job(generator, seed + np.arange(n), label)) for seed, n, label in wanted)
        )

    answers = run(all_at_once, threads=threads, max_batch=max_batch, max_queue=10_000, timeout_s=60)
    for (seed, n, label), answer in zip(wanted, answers, strict=True):
        assert np.array_equal(answer, generator.sample(n, int(seed), label))


def test_latents_seeds_and_truncation_share_a_batch(generator):
    gate = Gate(generator)
    z = latents(range(3), generator.latent_dim)
    images = Job(gate, np.zeros(3, np.int64), lambda images: images.copy(), z=z)
    small = job(gate, [5], truncation=0.5)
    plain = job(gate, [5])

    async def together(batcher):
        blocked = await occupied(batcher, gate)
        waiting = asyncio.gather(*(batcher.run(each) for each in (images, small, plain)))
        await asyncio.sleep(0)
        gate.open.set()
        await blocked
        return await waiting

    made, made_small, made_plain = run(together)
    assert gate.batches == [1, 5]
    assert made.dtype == np.float32
    assert np.array_equal(made, generator.images(z, np.zeros(3, np.int64)))
    assert np.array_equal(made_small, generator.sample(1, 5, 1, truncation=0.5))
    assert np.array_equal(made_plain, generator.sample(1, 5, 1))


def test_bundles_do_not_mix(generator):
    gates = [Gate(generator), Gate(generator)]
    for gate in gates:
        gate.open.set()

    async def both(batcher):
        return await asyncio.gather(*(batcher.run(job(gates[number % 2], [number])) for number in range(40)))

    answers = run(both)
    assert [np.array_equal(each, generator.sample(1, n, 1)) for n, each in enumerate(answers)] == [True] * 40
    assert sum(gates[0].batches) == sum(gates[1].batches) == 20


def test_waiting_images_become_one_batch_up_to_the_limit(generator):
    gate = Gate(generator)

    async def fill(batcher):
        runs = [await occupied(batcher, gate)]
        runs += [asyncio.ensure_future(batcher.run(job(gate, [n]))) for n in range(11)]
        await asyncio.sleep(0.01)
        assert batcher.waiting == 11
        gate.open.set()
        await asyncio.gather(*runs)

    run(fill, max_batch=4)
    assert gate.batches == [1, 4, 4, 3]


def test_a_lone_request_is_not_held_back(generator):
    gate = Gate(generator)
    gate.open.set()
    run(lambda batcher: batcher.run(job(gate, [0])))
    assert gate.batches == [1]


def test_with_a_delay_requests_wait_for_company(generator):
    gate = Gate(generator)
    gate.open.set()

    async def trickle(batcher):
        first = asyncio.ensure_future(batcher.run(job(gate, [0])))
        await asyncio.sleep(0.02)
        await asyncio.gather(first, batcher.run(job(gate, [1])))

    run(trickle, max_delay_s=0.2)
    assert gate.batches == [2]


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(generator):
    gate = Gate(generator)

    async def overload(batcher):
        running = await occupied(batcher, gate)
        waiting = asyncio.ensure_future(batcher.run(job(gate, range(5))))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            batcher.admit(4)
        with pytest.raises(Overloaded):
            await batcher.run(job(gate, range(4)))
        batcher.admit(3)
        gate.open.set()
        await asyncio.gather(running, waiting)
        batcher.admit(100)  # nothing waits: one request may be larger than the queue
        return refused.value.retry_after_s

    assert run(overload, max_queue=8) >= 1


def test_what_would_be_late_is_refused(generator):
    class Slow(Gate):
        def images(self, z, labels):
            self.entered.set()
            time.sleep(0.05 * len(z))
            return super().images(z, labels)

    slow = Slow(generator)
    slow.open.set()

    async def overload(batcher):
        await batcher.run(job(slow, [0]))  # it learns what an image takes
        slow.entered.clear()
        running = await occupied(batcher, slow)
        waiting = asyncio.ensure_future(batcher.run(job(slow, range(4))))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            batcher.admit(40)
        batcher.admit(1)
        await asyncio.gather(running, waiting)

    run(overload, timeout_s=1.0)


def test_a_job_that_could_not_begin_in_time_is_dropped(generator):
    gate = Gate(generator)

    async def expire(batcher):
        running = await occupied(batcher, gate)
        late = asyncio.ensure_future(batcher.run(job(gate, [1, 2])))
        await asyncio.sleep(0.05)
        gate.open.set()
        with pytest.raises(Expired):
            await late
        assert batcher.waiting == 0
        return await running

    assert len(run(expire, timeout_s=0.03)) == 1
    assert gate.batches == [1]


def test_a_cancelled_job_is_not_run(generator):
    gate = Gate(generator)

    async def cancel(batcher):
        running = await occupied(batcher, gate)
        unwanted = asyncio.ensure_future(batcher.run(job(gate, [1])))
        wanted = asyncio.ensure_future(batcher.run(job(gate, [2])))
        await asyncio.sleep(0)
        unwanted.cancel()
        gate.open.set()
        await asyncio.gather(running, wanted)
        assert unwanted.cancelled()

    run(cancel)
    assert gate.batches == [1, 1]


def test_an_error_reaches_those_whom_it_concerns_alone(generator):
    broken = Broken(generator)

    async def both(batcher):
        answers = await asyncio.gather(
            batcher.run(job(broken, range(1000))),
            batcher.run(job(generator, [3])),
            return_exceptions=True,
        )
        return [*answers, await batcher.run(job(generator, [4]))]

    failed, made, later = run(both)
    assert isinstance(failed, RuntimeError)
    assert sum(broken.batches) < 1000  # the rest of it is not tried
    assert np.array_equal(made, generator.sample(1, 3, 1))
    assert np.array_equal(later, generator.sample(1, 4, 1))


def test_an_answer_that_cannot_be_written_is_an_error(generator):
    def finish(images):
        raise ValueError("unwritable")

    broken = Job(generator, np.zeros(1, np.int64), finish, seeds=np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="unwritable"):
        run(lambda batcher: batcher.run(broken))


def test_closing_finishes_what_waits(generator):
    gate = Gate(generator)

    async def close(batcher):
        runs = [asyncio.ensure_future(batcher.run(job(gate, [n]))) for n in range(20)]
        await until(gate.entered.is_set)
        closing = asyncio.ensure_future(asyncio.to_thread(batcher.close))
        gate.open.set()
        await closing
        return await asyncio.gather(*runs)

    assert len(run(close, max_batch=3)) == 20


def test_work_is_observed(generator):
    notes = Notes()
    run(lambda batcher: batcher.run(job(generator, range(70))), observer=notes, max_batch=32)
    assert sum(notes.images) == 70
    assert max(notes.images) <= 32
    assert notes.requests == 1


def test_a_job_needs_latents_or_seeds(generator):
    with pytest.raises(ValueError, match="z or seeds"):
        Job(generator, None, bytes)
