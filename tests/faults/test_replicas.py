"""Models that attack the wire, end, freeze or hoard: only their own requests are affected."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.faults.bench import TIME_LIMIT, Bench, Peak, Took, open_bench, replica_pids, started
from tests.faults.conftest import Observe
from tests.faults.matrix import fault
from tests.support.folders import NewFolder
from tests.support.polling import until
from tests.support.r import r_prefix
from tests.support.served_gateway import (
    Gateway,
    write,
)
from workers.replica import wire

# A model can misbehave in each language: all of these tests are for both.
HOSTILE = {"python": "hostile.py", "r": "hostile.R"}


@pytest.fixture(scope="module", params=HOSTILE)
def bench(request: pytest.FixtureRequest, new_folder: NewFolder) -> Iterator[Bench]:
    """A gateway with a model that misbehaves, in one language, and two that must never notice."""
    if request.param == "r":
        r_prefix()
    with open_bench(new_folder("bench"), HOSTILE[request.param]) as opened:
        yield opened


BROKEN = "it broke the protocol with the gateway"
MB = 1_000_000


@fault(
    "a wrong id, through the product",
    injection="a model answers with ids of earlier and later requests before its own",
    bound="502; the forged answer is not delivered; others never notice",
)
@pytest.mark.parametrize("number", [0, 1, 2**63])
def test_wrong_id_is_not_delivered(bench: Bench, observe: Observe, number: int) -> None:
    """An answer to another request is not delivered and ends its replica."""
    with bench.unnoticed():
        assert BROKEN in bench.fails(502, "model.shutdown", do="forge", id=number)
    observe("502")


@fault(
    "two answers, through the product",
    injection="a model answers its request by itself, and then as it should",
    bound="the first counts, the second is not delivered: each later caller gets its own nonce",
)
def test_second_answer_reaches_no_other_caller(bench: Bench, observe: Observe) -> None:
    """A second answer to one request is never delivered to another caller."""
    with bench.unnoticed():
        told = bench.do("answer_twice")
        assert told["response"] == "forged" or told["error"]["code"] == "model.shutdown", told
        for nonce in range(20):
            after = bench.do("echo", nonce=nonce)
            assert after["response"] == {"do": "echo", "nonce": nonce}
    observe(f"{told['status']}, then 20 of 20 right answers")


@fault(
    "an answer that is no JSON",
    injection="a model writes what would end our object and add `success` to it, or no JSON",
    bound="502 and a new replica; not a byte of it reaches a client; others never notice",
)
@pytest.mark.parametrize("times", [1, 100_000], ids=["small", "large"])
@pytest.mark.parametrize("text", ['1},"success":false,"x":{', "junk", '"\xff"', "[", ""])
def test_invalid_json_is_not_delivered(
    bench: Bench, observe: Observe, text: str, times: int
) -> None:
    """The bytes of a model are checked to be one JSON value before they are sent."""
    assert bench.do("big", bytes=300_000)["status"] == 200  # so that the examiner is there
    with bench.unnoticed():
        before = "" if times == 1 else '"large",'
        told = bench.fails(
            502, "model.shutdown", do="say", kind=19, text=text, times=times, before=before
        )
        assert BROKEN in told
        assert "its answer is not JSON" in told
    observe("502")


@fault(
    "a frame above the bound of its kind",
    injection="a model forges frames of each kind, one byte larger than they may be",
    bound="502 that says which frame and how large; a new replica; others never notice",
)
@pytest.mark.parametrize("kind", wire.LARGEST)
def test_frame_above_its_bound_is_not_read(bench: Bench, observe: Observe, kind: int) -> None:
    """A frame larger than its kind may be is neither read into memory nor decoded."""
    size = wire.LARGEST[kind] + 1
    with bench.unnoticed():
        told = bench.fails(502, "model.shutdown", do="say", kind=kind, text=" ", times=size)
        assert f"{size} bytes; at most {size - 1}" in told
    observe("502")


@fault(
    "a length of 4 GiB, through the product",
    injection="a model announces a frame of 4 GiB and sends 1 kB of it",
    bound="502 at once; the gateway takes no memory for it",
)
def test_length_of_4_gib_ends_the_replica(bench: Bench, observe: Observe) -> None:
    """A length past the limit ends the replica when its header arrives."""
    with bench.unnoticed(), Peak(bench.gateway.pid) as peak, Took() as took:
        assert BROKEN in bench.fails(502, "model.shutdown", do="announce", length=2**32 - 1)
    assert peak.grown < 50 * MB
    observe(f"502 after {took}, {peak.grown / MB:.0f} MB more")


@fault(
    "an answer that never comes whole",
    injection="a model announces 30 MB, sends 1 kB and sleeps",
    bound="504 at the time-out + 0.5 s, a new replica",
)
def test_incomplete_answer_times_out(bench: Bench, observe: Observe) -> None:
    """The time limit also holds in the middle of an answer."""
    with bench.unnoticed():
        bench.fails(502, "model.shutdown", do="announce", length=2**25 + 1)
        with Took() as took:
            bench.fails(504, "model.timeout", do="announce", length=30 * MB)
    assert took.seconds < TIME_LIMIT + 0.5
    observe(f"504 after {took} with a limit of {TIME_LIMIT} s")


@fault(
    "half a frame",
    injection="a model writes a part of a header and continues, or ends",
    bound="502 for its caller; nothing of it reaches another",
)
@pytest.mark.parametrize("die", [False, True], ids=["continues", "ends"])
@pytest.mark.parametrize("count", [1, 5, 12])
def test_half_a_frame_fails_only_its_request(
    bench: Bench, observe: Observe, count: int, die: bool
) -> None:
    """A replica that breaks off in a frame costs its own request."""
    with bench.unnoticed():
        told = bench.do("half_frame", bytes=count, die=die)
        assert told["status"] in (502, 504), told
        assert bench.do("echo", nonce=1)["response"] == {"do": "echo", "nonce": 1}
    observe(f"{told['status']}")


@fault(
    "junk on every descriptor",
    injection="a model writes 5 kB of junk to each of 1024 descriptors, those printed to included",
    bound="502; others never notice; the log stays text",
)
def test_junk_ends_only_the_conversation(bench: Bench, observe: Observe) -> None:
    """Junk ends the conversation, and nothing else."""
    with bench.unnoticed():
        bench.fails(502, "model.shutdown", do="junk_everywhere")
    assert bench.gateway.cli("logs", "behave").code == 0
    observe("502")


@fault(
    "every descriptor closed",
    injection="a model closes all its descriptors and lives on",
    bound="502 well before its time-out; it is killed",
)
def test_replica_with_closed_descriptors_is_ended(bench: Bench, observe: Observe) -> None:
    """A replica that closes its pipes and still runs is ended."""
    with bench.unnoticed(), Took() as took:
        bench.fails(502, "model.shutdown", do="close_everything")
    observe(f"502 after {took}")


ENDINGS: dict[str, tuple[dict[str, Any], str]] = {
    "os._exit(0)": ({"do": "os_exit", "status": 0}, "exited with status 0"),
    "os._exit(255)": ({"do": "os_exit", "status": 255}, "exited with status 255"),
    "sys.exit(0)": ({"do": "exit", "status": 0}, "exited with status 0"),
    "SIGKILL": ({"do": "kill", "signal": "SIGKILL"}, "was killed by SIGKILL"),
    "SIGSEGV": ({"do": "kill", "signal": "SIGSEGV"}, "was killed by SIGSEGV"),
    "SIGABRT": ({"do": "kill", "signal": "SIGABRT"}, "was killed by SIGABRT"),
    "SIGTERM": ({"do": "kill", "signal": "SIGTERM"}, "was killed by SIGTERM"),
}


@fault(
    "a model ends in the midst of a request",
    injection="os._exit, sys.exit, SIGKILL, SIGSEGV, SIGABRT, SIGTERM",
    bound="502 that says how, in 100 ms; another is begun in 0.5 s",
)
@pytest.mark.parametrize("ending", ENDINGS)
def test_caller_gets_the_end_of_the_process_at_once(
    bench: Bench, observe: Observe, ending: str
) -> None:
    """The caller gets at once how the process ended."""
    deed, words = ENDINGS[ending]
    told, replaced = [], []
    with bench.unnoticed():
        for _ in range(3):
            before = replica_pids(bench.gateway, bench.hostile)
            began = time.clock_gettime(time.CLOCK_BOOTTIME)
            with Took() as took:
                assert words in bench.fails(502, "model.shutdown", **deed)
            told.append(took.seconds)
            bench.settle()
            (new,) = set(replica_pids(bench.gateway, bench.hostile)) - set(before)
            replaced.append(started(new) - began)
    # The machine may be busy with something else for a moment, but not each time.
    assert median(told) < 0.1
    assert median(replaced) < 0.5
    observe(
        f"{ending}: told after {median(told) * 1000:.0f} ms, "
        f"the next one began after {median(replaced) * 1000:.0f} ms"
    )


@fault(
    "a model ends between two requests",
    injection="a thread of it calls os._exit just after an answer",
    bound="the answer stands; the next requests are answered",
)
def test_end_between_requests_costs_no_request(bench: Bench, observe: Observe) -> None:
    """A replica that ends while it is idle costs no request."""
    with bench.unnoticed():
        for _ in range(2):
            told = bench.do("exit_in_thread", seconds=0.05)
            assert told["response"] == "answered"
        for nonce in range(5):
            assert bench.do("echo", nonce=nonce)["status"] == 200
    observe("7 of 7 answered")


@fault(
    "a replica frozen from outside, in a request",
    injection="SIGSTOP from outside while it predicts",
    bound="504 at the time-out + 0.5 s; killed although stopped; replaced",
)
def test_frozen_replica_is_ended(bench: Bench, observe: Observe) -> None:
    """A stopped process is ended like one that hangs."""
    with bench.unnoticed():
        pids = replica_pids(bench.gateway, bench.hostile)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        with Took() as took:
            message = bench.fails(504, "model.timeout", do="echo")
        assert "did not end within" in message
        assert took.seconds < TIME_LIMIT + 0.5
        # The other one is stopped as well, and idle: who asks next waits out its time-out.
        while set(pids) & set(replica_pids(bench.gateway, bench.hostile)):
            bench.do("echo")
    observe(f"504 after {took} with a limit of {TIME_LIMIT} s")


@fault(
    "a replica frozen and continued",
    injection="SIGSTOP, then SIGCONT before the time-out",
    bound="the answer, late; nothing is restarted",
)
def test_continued_replica_is_kept(bench: Bench, observe: Observe) -> None:
    """A process that is paused and continued is not ended."""
    with bench.unnoticed():
        pids = replica_pids(bench.gateway, bench.hostile)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        told: list[int] = []
        caller = threading.Thread(target=lambda: told.append(bench.do("echo")["status"]))
        caller.start()
        until(lambda: bench.busy() == 1)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        caller.join()
        assert told == [200]
        assert replica_pids(bench.gateway, bench.hostile) == pids
    observe("200")


@fault(
    "poison, again and again",
    injection="20 requests that each end their replica, a good one after each",
    bound="every good one is answered: restarts by requests are never locked out",
)
def test_poisoned_inputs_leave_the_model_in_service(bench: Bench, observe: Observe) -> None:
    """A caller whose requests kill replicas does not put the model out of service."""
    with Took() as took, bench.unnoticed() as prober:
        for nonce in range(20):
            bench.fails(502, "model.shutdown", do="os_exit")
            assert bench.do("echo", nonce=nonce)["status"] == 200
    observe(f"20 of 20 good ones answered, in {took}; others: {prober.slowest:.2f} s at most")


@fault(
    "a reply of 100 MB",
    injection="a model returns a string of 100 MB; the limit is 32 MiB",
    bound="500 with both numbers; the gateway does not take it in",
)
def test_reply_of_100_mb_is_the_models_error(tmp_path: Path, observe: Observe) -> None:
    """A reply above its limit is the model's error, reported with numbers."""
    source = "def big(args):\n    return 'x' * args['bytes'] if 'bytes' in args else args\n"
    with Gateway(tmp_path / "data") as gateway:
        model = gateway.serve(write(tmp_path / "big", {"big.py": source}), "big.py", "big")
        with Peak(gateway.pid) as peak:
            told = gateway.call(model, {"bytes": 100 * MB})
        assert (told.status, told.body["error"]["code"]) == (500, "model.error")
        assert "100000002 bytes" in told.body["message"]
        assert peak.grown < 50 * MB
        assert gateway.call(model, {}).status == 200
    observe(f"500, {peak.grown / MB:.0f} MB more")


@fault(
    "a model that hoards descriptors and threads",
    injection="500 descriptors and 100 threads held in a replica",
    bound="it serves on; the gateway's own stay as they were",
)
def test_memory_of_a_model_ends_with_it(bench: Bench, observe: Observe) -> None:
    """The memory of a model is its own, and is freed with it."""
    with bench.unnoticed():
        assert bench.do("descriptors", count=500)["status"] == 200
        assert bench.do("threads", count=100)["status"] == 200
        assert bench.gateway.cli("model", "restart", "behave").code == 0
    observe("200, and all given back")


@fault(
    "an endless import",
    injection="a model file that sleeps for an hour; a start may take 2 s",
    bound="the build fails in the limit + 3 s, says so, and leaves no process",
)
def test_endless_import_is_ended(tmp_path: Path, observe: Observe) -> None:
    """A model that never gets ready is ended, and its author gets the reason."""
    source = "import time\ntime.sleep(3600)\ndef never(args):\n    return args\n"
    with Gateway(tmp_path / "data", model_start_timeout="2") as gateway:
        model = gateway.model(gateway.project(write(tmp_path / "p", {"n.py": source})), "never")
        build = gateway.build(model, "n.py", "never")
        assert build["status"] == "build failed"
        assert not gateway.processes()
        (took,) = (step["seconds"] for step in build["steps"] if step["state"] == "failed")
        assert 2 <= took < 2 + 3
        observe(f"{build['failure']['summary']} after {took:.2f} s")
